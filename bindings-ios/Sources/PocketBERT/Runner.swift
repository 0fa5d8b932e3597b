import Foundation
internal import PocketBERTMobile

/// Runs blocking calls away from Swift's cooperative threads, which must never block.
enum Runner {
    /// One operation per core: more would only take turns.
    private static let queue: OperationQueue = {
        let queue = OperationQueue()
        queue.name = "org.pocketbert.run"
        queue.maxConcurrentOperationCount = max(1, ProcessInfo.processInfo.activeProcessorCount)
        return queue
    }()

    /// Runs `body` with `options` and a token that the surrounding `Task` trips when it is cancelled: the run then
    /// ends at its next operator, and this throws ``PocketBERTError/cancelled(_:)``.
    static func run<T: Sendable>(
        _ options: CallOptions,
        _ body: @escaping @Sendable (PocketBERTMobile.CallOptions) throws -> T
    ) async throws(PocketBERTError) -> T {
        let token = try PocketBERTError.translating { try CancelToken.create() }
        let call = try options.mobile(token)
        let priority = Task.currentPriority
        let result: Result<T, PocketBERTError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let operation = BlockOperation {
                    continuation.resume(
                        returning: Result { () throws(PocketBERTError) -> T in
                            try PocketBERTError.translating { try body(call) }
                        })
                }
                operation.qualityOfService = qualityOfService(priority)
                queue.addOperation(operation)
            }
        } onCancel: {
            try? token.cancel()
        }
        return try result.get()
    }

    /// The same for calls that take no options and cannot be stopped, such as opening a file.
    static func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws(PocketBERTError) -> T {
        try await run(CallOptions()) { _ in try body() }
    }

    private static func qualityOfService(_ priority: TaskPriority) -> QualityOfService {
        switch priority {
        case .high, .userInitiated: .userInitiated
        case .low, .utility: .utility
        case .background: .background
        default: .default
        }
    }
}
