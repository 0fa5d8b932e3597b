import XCTest

@testable import PocketBERT

final class ProgressTests: XCTestCase {
    private final class Told: @unchecked Sendable {
        private let lock = NSLock()
        private var list: [DocumentProgress] = []
        var all: [DocumentProgress] { lock.withLock { list } }
        func add(_ p: DocumentProgress) { lock.withLock { list.append(p) } }
    }

    func testDocumentsTellHowFarTheyAreRead() async throws {
        let text = String(repeating: "will it rain tomorrow? ", count: 100)
        let task = try TextClassifier(bundle: Files.tiny)
        let told = Told()
        _ = try await task.classify(document: text, windows: .init(window: 64)) { told.add($0); return true }
        let all = told.all
        XCTAssertGreaterThan(all.count, 5)
        XCTAssertEqual(all.map(\.windowCount), Array(1...all.count))
        XCTAssertEqual(all.last?.completedByteCount, text.utf8.count)
        XCTAssert(all.allSatisfy { $0.totalByteCount == text.utf8.count })
    }

    func testAHandlerStopsTheCall() async throws {
        let model = try Model(bundle: Files.tiny)
        let text = String(repeating: "will it rain [MASK]? ", count: 100)
        let windows = Windowing(window: 64)
        let told = Told()
        let stop: ProgressHandler = { told.add($0); return $0.windowCount < 2 }
        let calls: [() async throws -> Void] = [
            { _ = try await Analyzer(model: model).analyze(document: text, windows: windows, onProgress: stop) },
            { _ = try await MaskFiller(model: model).fill(document: text, windows: windows, onProgress: stop) },
            {
                _ = try await ZeroShotClassifier(model: model)
                    .classify(document: text, labels: ["weather"], windows: windows, onProgress: stop)
            },
            {
                _ = try await Reranker(model: model)
                    .rank(longDocuments: [text, text], by: "rain", windows: windows, onProgress: stop)
            },
        ]
        for (i, call) in calls.enumerated() {
            do {
                try await call()
                XCTFail("call \(i) went on")
            } catch let error as PocketBERTError {
                XCTAssertEqual(error.code, 1, "call \(i): \(error)")
            }
            XCTAssertEqual(told.all.count, 2 * (i + 1))
        }
    }
}
