import Foundation

extension [Float] {
    /// From the library's bytes: four each, the lowest first.
    init(littleEndian bytes: Data) {
        self = bytes.withUnsafeBytes { buffer in
            (0..<buffer.count / 4).map {
                Float(bitPattern: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)))
            }
        }
    }
}
