internal import PocketBERTMobile

/// How far a long text is read.
public struct DocumentProgress: Sendable, Hashable {
    /// Windows answered.
    public let windowCount: Int
    /// UTF-8 bytes up to the end of the last of them.
    public let completedByteCount: Int
    /// UTF-8 bytes of the text; of several texts, or of heads that read it in passes of their own, all of them.
    public let totalByteCount: Int
}

/// Told how far a long text is read: after each window, on the thread that runs the call, so return soon. `false`
/// ends the call with ``PocketBERTError/cancelled(_:)``.
public typealias ProgressHandler = @Sendable (DocumentProgress) -> Bool

/// Hands progress over.
final class ProgressAdapter: PocketBERTMobile.ProgressListener {
    private let handler: ProgressHandler

    init(_ handler: @escaping ProgressHandler) { self.handler = handler }

    func progressed(progress: PocketBERTMobile.LongProgress) -> Bool {
        handler(
            DocumentProgress(
                windowCount: Int(progress.windows), completedByteCount: Int(progress.done),
                totalByteCount: Int(progress.total)))
    }
}
