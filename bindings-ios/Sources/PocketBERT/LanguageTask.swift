import Foundation
internal import PocketBERTMobile

/// What every task has: ``TextClassifier``, ``TokenClassifier``, ``QuestionAnswerer``, ``Summarizer``,
/// ``TextEmbedder``, ``Reranker``, ``MaskFiller``, ``ZeroShotClassifier`` and ``Analyzer``.
///
/// ## Sharing
/// Make one and keep it: opening costs more than a call. All of them are `Sendable`; calls from many tasks at once run
/// side by side, at most one per core, and give the same bits as calls one after another.
///
/// ## Cancelling
/// Calls are `async` and never block the thread that makes them. Cancelling the surrounding `Task` stops the run
/// itself, at its next operator; the call then throws ``PocketBERTError/cancelled(_:)``.
///
/// ## Closing
/// There is nothing to close. Letting go of the object while a call runs is fine: the call ends normally.
public protocol LanguageTask: AnyObject, Sendable {
    /// The model that it runs.
    var model: Model { get }
    /// Its numbers.
    var metrics: Metrics { get }
    /// A task on an open model. `head` names one of its heads; `nil` takes the first that can do this.
    init(model: Model, head: String?) throws(PocketBERTError)
}

extension LanguageTask {
    /// Opens a bundle for this task alone. To do several things with one bundle, open a ``Model`` and share it.
    ///
    /// Opening takes some tens of milliseconds: from the main thread open the model with
    /// ``Model/open(bundle:options:)``.
    public init(bundle url: URL, head: String? = nil, options: OpenOptions = .init()) throws(PocketBERTError) {
        try self.init(model: Model(bundle: url, options: options), head: head)
    }

    /// A task on an open model, by the first head that can do it.
    public init(model: Model) throws(PocketBERTError) {
        try self.init(model: model, head: nil)
    }

    /// How far it is from answering at full speed.
    public var state: LoadState { (try? metrics.handle.state()).map(LoadState.init) ?? .unloaded }

    /// Opens the model if that was deferred and answers something short, so that the next call is a warm one.
    public func prewarm() async throws(PocketBERTError) {
        let handle = metrics.handle
        try await Runner.run { try handle.prewarm() }
    }
}
