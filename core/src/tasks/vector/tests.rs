use super::*;

fn vector(seed: u32, dims: usize) -> Embedding {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let v = (0..dims).map(|_| {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / (1 << 24) as f32 - 0.45
    });
    Embedding::new(v.collect(), Origin([7; 32]), false).unwrap()
}

/// In double precision, in another order.
fn exact_cosine(a: &[f32], b: &[f32]) -> f64 {
    let d =
        |a: &[f32], b: &[f32]| a.iter().zip(b).rev().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    d(a, b) / (d(a, a) * d(b, b)).sqrt()
}

#[test]
fn products_and_cosines_are_right_in_every_format() {
    for dims in [1, 31, 32, 100, 768] {
        let (a, b) = (vector(1, dims), vector(2, dims));
        for (format, tolerance) in
            [(VectorFormat::F32, 1e-6), (VectorFormat::F16, 1e-3), (VectorFormat::I8, 1e-2)]
        {
            let (x, y) = (a.to_format(format).unwrap(), b.to_format(format).unwrap());
            assert_eq!((x.format(), x.dims()), (format, dims));
            let exact = exact_cosine(&x.values(), &y.values());
            assert!((f64::from(x.cosine(&y).unwrap()) - exact).abs() < 1e-6, "{format:?} {dims}");
            assert!((exact - exact_cosine(&a.values(), &b.values())).abs() < tolerance, "{format:?} {dims}");
            let dot: f64 = x.values().iter().zip(y.values()).map(|(p, q)| f64::from(*p) * f64::from(q)).sum();
            assert!((f64::from(x.dot(&y).unwrap()) - dot).abs() < 1e-5 * (1.0 + dot.abs()));
            assert_eq!(x.cosine(&x).unwrap(), 1.0);
        }
        // Widths may be mixed.
        let mixed = a.to_format(VectorFormat::I8).unwrap().cosine(&b).unwrap();
        assert!((mixed - a.cosine(&b).unwrap()).abs() < 0.01);
    }
}

#[test]
fn every_kernel_gives_the_bits_of_a_product() {
    let (a, b) = (vector(3, 777).values(), vector(4, 777).values());
    for isa in Isa::available() {
        assert_eq!(kernels::dot(isa, &a, &b).to_bits(), DOT_BITS, "{isa}");
    }
}

/// From another implementation of the same order, in NumPy.
const DOT_BITS: u32 = 1_074_587_739;

#[test]
fn fewer_dimensions_are_the_first_ones_at_unit_length() {
    let mut e = vector(5, 96);
    let plain = e.truncated(32).unwrap();
    assert_eq!(plain.values(), e.values()[..32]);
    e.unit = true;
    let cut = e.truncated(32).unwrap();
    let length = cut.values().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    assert!((length - 1.0).abs() < 1e-6);
    assert!((cut.cosine(&Embedding { unit: true, ..plain }).unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(e.truncated(96).unwrap(), e);
    for dims in [0, 97] {
        assert_eq!(e.truncated(dims).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn other_models_and_sizes_are_refused_by_name() {
    let a = vector(1, 8);
    let b = Embedding { origin: Origin([0xab; 32]), ..a.clone() };
    for e in [a.cosine(&b), a.dot(&b)] {
        let e = e.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        assert!(e.message().contains("0707070707070707") && e.message().contains("abababababababab"), "{e}");
    }
    assert_eq!(a.cosine(&vector(1, 9)).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn zero_and_tiny_vectors_have_answers() {
    let v = |x: f32| Embedding::new(vec![x; 4], Origin([7; 32]), false).unwrap();
    let a = vector(1, 4);
    for x in [0.0, -0.0, 1e-44, f32::MIN_POSITIVE] {
        for f in [VectorFormat::F32, VectorFormat::F16, VectorFormat::I8] {
            let c = v(x).to_format(f).unwrap().cosine(&a).unwrap();
            assert!((-1.0..=1.0).contains(&c), "{x} {f:?} {c}");
        }
    }
    assert_eq!(v(0.0).cosine(&a).unwrap(), 0.0);
    assert_eq!(v(1e6).to_format(VectorFormat::F16).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert!(Embedding::new(vec![f32::NAN], Origin([7; 32]), false).is_err());
    assert!(Embedding::new(vec![], Origin([7; 32]), false).is_err());
}

#[test]
fn stored_vectors_come_back_and_damaged_ones_are_refused() {
    for format in [VectorFormat::F32, VectorFormat::F16, VectorFormat::I8] {
        let e = vector(9, 33).to_format(format).unwrap();
        let bytes = e.to_bytes();
        assert_eq!(Embedding::from_bytes(&bytes).unwrap(), e);
        for cut in 0..bytes.len() {
            assert_eq!(Embedding::from_bytes(&bytes[..cut]).unwrap_err().kind(), ErrorKind::DataLoss);
        }
        // Whatever a header byte is changed to, the result is an error or a vector of the same size.
        for at in 0..16 {
            for value in 0..=255u8 {
                let mut b = bytes.clone();
                b[at] = value;
                if let Ok(v) = Embedding::from_bytes(&b) {
                    assert_eq!(v.to_bytes(), b);
                }
            }
        }
    }
    let mut nan = vector(9, 2).to_bytes();
    nan[HEADER..HEADER + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(Embedding::from_bytes(&nan).unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn nearest_sorts_by_cosine_then_by_place() {
    let q = vector(1, 16);
    let candidates = [vector(2, 16), q.clone(), vector(3, 16), q.clone()];
    let order: Vec<usize> = nearest(&q, &candidates, 10).unwrap().into_iter().map(|p| p.0).collect();
    assert_eq!(order[..2], [1, 3]);
    assert_eq!(order.len(), 4);
    assert_eq!(nearest(&q, &candidates, 1).unwrap(), [(1, 1.0)]);
    assert!(nearest(&q, &[], 3).unwrap().is_empty());
}
