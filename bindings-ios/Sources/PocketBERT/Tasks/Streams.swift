/// Answers `elements` in batches of `size`, in their order, as they come.
///
/// Ending the returned stream early, or cancelling the task that reads it, ends the run.
func batches<Elements: AsyncSequence & Sendable, Answer: Sendable>(
    of elements: Elements, size: Int, answer: @escaping @Sendable ([Elements.Element]) async throws -> [Answer]
) -> AsyncThrowingStream<Answer, any Error> where Elements.Element: Sendable {
    AsyncThrowingStream { continuation in
        let task = Task {
            do {
                var batch: [Elements.Element] = []
                for try await element in elements {
                    batch.append(element)
                    if batch.count >= max(1, size) {
                        for answer in try await answer(batch) { continuation.yield(answer) }
                        batch.removeAll(keepingCapacity: true)
                    }
                }
                // A cancelled sequence may end as if it were exhausted.
                try Task.checkCancellation()
                if !batch.isEmpty {
                    for answer in try await answer(batch) { continuation.yield(answer) }
                }
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { _ in task.cancel() }
    }
}
