//! CRC-32 (reflected polynomial 0xEDB88320, as in ZIP, gzip and PNG), eight bytes at a time.
//!
//! The "slicing-by-8" scheme: M. Kounavis and F. Berry, "A systematic approach to building high performance
//! software-based CRC generators", ISCC 2005.

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 };
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[k - 1][i];
            t[k][i] = (c >> 8) ^ t[0][(c & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// A running CRC-32.
#[derive(Clone, Copy)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) fn new() -> Self {
        Crc(!0)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut c = self.0;
        let (chunks, rest) = bytes.as_chunks::<8>();
        for b in chunks {
            let lo = c ^ u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let [l0, l1, l2, l3] = lo.to_le_bytes();
            c = TABLES[7][l0 as usize]
                ^ TABLES[6][l1 as usize]
                ^ TABLES[5][l2 as usize]
                ^ TABLES[4][l3 as usize]
                ^ TABLES[3][b[4] as usize]
                ^ TABLES[2][b[5] as usize]
                ^ TABLES[1][b[6] as usize]
                ^ TABLES[0][b[7] as usize];
        }
        for &b in rest {
            c = (c >> 8) ^ TABLES[0][((c ^ u32::from(b)) & 0xff) as usize];
        }
        self.0 = c;
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

/// The CRC-32 of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut c = Crc::new();
    c.update(bytes);
    c.finish()
}
