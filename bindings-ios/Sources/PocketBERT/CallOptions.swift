import Foundation
internal import PocketBERTMobile

/// How a call runs. None of it changes an answer: the bits are the same for every number of threads and every kernel.
public struct CallOptions: Sendable, Hashable {
    /// Threads of this call, 1 to 64. More than one pays for texts of about 64 tokens and up.
    public var threads: Int
    /// The name of the kernels, such as `"neon-dotprod"`; `nil` takes the fastest that the CPU has.
    public var kernel: String?
    /// Seconds from the call after which it ends with ``PocketBERTError/deadlineExceeded(_:)``.
    public var deadline: TimeInterval?

    /// One thread, the fastest kernels, no deadline.
    public init(threads: Int = 1, kernel: String? = nil, deadline: TimeInterval? = nil) {
        self.threads = threads
        self.kernel = kernel
        self.deadline = deadline
    }

    func mobile(_ token: CancelToken) throws(PocketBERTError) -> PocketBERTMobile.CallOptions {
        var milliseconds: Int64?
        if let deadline {
            guard deadline.isFinite, deadline >= 0 else {
                throw .invalidArgument("the deadline is \(deadline) seconds: give a time from now on")
            }
            milliseconds = Int64(exactly: (deadline * 1000).rounded()) ?? .max
        }
        return .init(
            threads: try Int32(checking: threads, "threads"), kernel: kernel, cancel: token, deadlineMs: milliseconds)
    }
}

/// What to keep of a text that is longer than the model takes.
public enum LongTextPolicy: Sendable, Hashable, CaseIterable {
    /// Its start.
    case keepStart
    /// Its end.
    case keepEnd
    /// Both ends.
    case keepBothEnds
    /// Nothing: the call throws ``PocketBERTError/outOfRange(_:)``.
    case refuse

    var mobile: TooLong {
        switch self {
        case .keepStart: .keepStart
        case .keepEnd: .keepEnd
        case .keepBothEnds: .keepBothEnds
        case .refuse: .refuse
        }
    }
}

/// How a text of any length is read in windows.
public struct Windowing: Sendable, Hashable {
    /// How the windows' answers become one.
    public enum Merge: Sendable, Hashable, CaseIterable {
        /// The mean.
        case mean
        /// The mean, weighted by the tokens that belong to each window.
        case weighted
        /// The largest value.
        case max
        /// The share of windows that a label wins.
        case vote

        var mobile: PocketBERTMobile.Merge {
            switch self {
            case .mean: .mean
            case .weighted: .weighted
            case .max: .max
            case .vote: .vote
            }
        }
    }

    /// Tokens of a window; `nil`: as the model says.
    public var window: Int?
    /// Tokens from the start of one window to the start of the next; `nil`: as the model says.
    public var stride: Int?
    /// How the windows' answers become one.
    public var merge: Merge

    /// The model's own window and stride, merged by weight.
    public init(window: Int? = nil, stride: Int? = nil, merge: Merge = .weighted) {
        self.window = window
        self.stride = stride
        self.merge = merge
    }

    func mobile(_ onProgress: ProgressHandler? = nil) throws(PocketBERTError) -> PocketBERTMobile.Windowing {
        .init(
            window: try Int32?(checking: window, "window"), stride: try Int32?(checking: stride, "stride"),
            merge: merge.mobile, progress: onProgress.map(ProgressAdapter.init))
    }
}

extension Int32 {
    /// A number for the library, which counts in 32 bits.
    init(checking number: Int, _ name: String) throws(PocketBERTError) {
        guard let small = Int32(exactly: number) else {
            throw .invalidArgument("`\(name)` is \(number): it cannot be so large")
        }
        self = small
    }
}

extension Optional where Wrapped == Int32 {
    init(checking number: Int?, _ name: String) throws(PocketBERTError) {
        guard let number else {
            self = nil
            return
        }
        self = try Int32(checking: number, name)
    }
}
