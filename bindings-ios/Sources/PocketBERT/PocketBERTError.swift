import Foundation
internal import PocketBERTMobile

/// What can go wrong.
///
/// Every case carries a sentence for developers that says what is wrong and what to do. It names files, heads and
/// options, never a text that was given to a model, so it may be logged. The cases are those of the library's other
/// languages, in absl's numbering (``code``).
public enum PocketBERTError: Error, Hashable, Sendable {
    /// The task was cancelled, and the run has ended.
    case cancelled(String)
    /// An error that this version has no case for.
    case unknown(String)
    /// An option or an input is wrong.
    case invalidArgument(String)
    /// The deadline of the call passed, and the run has ended.
    case deadlineExceeded(String)
    /// There is no such file, or no such head in the bundle.
    case notFound(String)
    /// The file must not be read.
    case permissionDenied(String)
    /// A limit on memory or size would be exceeded.
    case resourceExhausted(String)
    /// The model cannot do this.
    case failedPrecondition(String)
    /// A text is longer than the model takes, and truncation was refused.
    case outOfRange(String)
    /// The file is of a kind or version that this version does not read.
    case unimplemented(String)
    /// A defect of the library: please report it.
    case `internal`(String)
    /// The file could not be read now.
    case unavailable(String)
    /// The file is damaged: its bytes are not those that were written.
    case dataLoss(String)

    /// The status code in absl's numbering, the same in every language of the library.
    public var code: Int {
        switch self {
        case .cancelled: 1
        case .unknown: 2
        case .invalidArgument: 3
        case .deadlineExceeded: 4
        case .notFound: 5
        case .permissionDenied: 7
        case .resourceExhausted: 8
        case .failedPrecondition: 9
        case .outOfRange: 11
        case .unimplemented: 12
        case .internal: 13
        case .unavailable: 14
        case .dataLoss: 15
        }
    }

    /// What is wrong and what to do, in one or two sentences.
    public var reason: String {
        switch self {
        case .cancelled(let r), .unknown(let r), .invalidArgument(let r), .deadlineExceeded(let r), .notFound(let r),
            .permissionDenied(let r), .resourceExhausted(let r), .failedPrecondition(let r), .outOfRange(let r),
            .unimplemented(let r), .internal(let r), .unavailable(let r), .dataLoss(let r):
            r
        }
    }

    init(code: Int32, reason: String) {
        self =
            switch code {
            case 1: .cancelled(reason)
            case 3: .invalidArgument(reason)
            case 4: .deadlineExceeded(reason)
            case 5: .notFound(reason)
            case 7: .permissionDenied(reason)
            case 8: .resourceExhausted(reason)
            case 9: .failedPrecondition(reason)
            case 11: .outOfRange(reason)
            case 12: .unimplemented(reason)
            case 13: .internal(reason)
            case 14: .unavailable(reason)
            case 15: .dataLoss(reason)
            default: .unknown(reason)
            }
    }

    /// Runs `body` and turns the library's errors into these.
    static func translating<T>(_ body: () throws -> T) throws(PocketBERTError) -> T {
        do {
            return try body()
        } catch let error as PocketBERTError {
            throw error
        } catch MobileError.Failed(let code, let reason) {
            throw PocketBERTError(code: code, reason: reason)
        } catch {
            // uniffi's own errors: library and bindings are of different versions.
            throw .internal(String(describing: error))
        }
    }
}

extension PocketBERTError: LocalizedError {
    /// The same as ``reason``.
    public var errorDescription: String? { reason }
}
