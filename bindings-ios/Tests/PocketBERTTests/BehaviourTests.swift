import Foundation
import XCTest

@testable import PocketBERT

final class BehaviourTests: XCTestCase {
    func testThreeLines() async throws {
        let classifier = try TextClassifier(bundle: Files.everyday)
        let answer = try await classifier.classify("What a wonderful film!")
        XCTAssertEqual(answer.best?.name, "positive")
        XCTAssertEqual(answer.labels.map(\.probability).reduce(0, +), 1, accuracy: 1e-5)
        XCTAssertEqual(answer.logits.count, 2)
    }

    func testLoadStates() async throws {
        let model = try Model(bundle: Files.tiny, options: .init(isDeferred: true))
        XCTAssertEqual(model.state, .unloaded)
        let task = try TextClassifier(model: model, head: "spam")
        XCTAssertEqual(task.state, .unloaded)
        try await model.load()
        XCTAssertEqual(model.state, .loaded)
        try await task.prewarm()
        XCTAssertEqual(task.state, .prewarmed)
        model.trimMemory()
        let answer = try await task.classify("hello")
        XCTAssertEqual(answer.labels.count, 2)
    }

    func testInfoAndSelfTest() async throws {
        let model = try await Model.open(bundle: Files.tiny, options: .init(defersWeightsHash: true))
        let info = try model.info()
        XCTAssertTrue(info.heads.map(\.name).contains("slots"))
        XCTAssertEqual(info.fingerprint.count, 64)
        XCTAssertEqual(info.byteCount, try Data(contentsOf: Files.tiny).count)
        try await model.verifyWeights()
        let test = try await model.selfTest()
        XCTAssertTrue(test.passed, test.failures.joined(separator: "\n"))
        XCTAssertGreaterThan(test.valueCount, 0)
        XCTAssertTrue(test.kernels.contains("generic"))
    }

    func testBytesAndDescriptorsGiveTheSameAnswer() async throws {
        let text = "play some jazz"
        let mapped = try await TextClassifier(bundle: Files.tiny, head: "intent").classify(text)
        let bytes = try Data(contentsOf: Files.tiny)
        let fromData = try await TextClassifier(model: Model(data: bytes), head: "intent").classify(text)
        XCTAssertEqual(mapped, fromData)

        // A bundle inside another file, at an odd offset.
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).bin")
        defer { try? FileManager.default.removeItem(at: url) }
        try (Data(repeating: 7, count: 4099) + bytes + Data([1, 2, 3])).write(to: url)
        let file = try FileHandle(forReadingFrom: url)
        let model = try Model(fileDescriptor: file.fileDescriptor, offset: 4099, length: Int64(bytes.count))
        try file.close()
        let inside = try await TextClassifier(model: model, head: "intent").classify(text)
        XCTAssertEqual(mapped, inside)
    }

    func testErrors() async throws {
        func code(_ body: () throws -> Void) -> Int? {
            do { try body() } catch { return (error as? PocketBERTError)?.code }
            return nil
        }
        let missing = Files.root.appendingPathComponent("models/none.pbert")
        XCTAssertEqual(code { _ = try Model(bundle: missing) }, 5)
        XCTAssertEqual(code { _ = try Model(bundle: URL(string: "https://example.org/a.pbert")!) }, 3)
        XCTAssertNotNil(code { _ = try Model(data: Data([1, 2, 3])) })
        let model = try Model(bundle: Files.tiny)
        XCTAssertEqual(code { _ = try TextClassifier(model: model, head: "taste") }, 5)
        XCTAssertEqual(code { _ = try Analyzer(model: model, head: "intent") }, 3)
        XCTAssertEqual(code { _ = try Model(fileDescriptor: -1, offset: 0, length: 9) }, 3)

        let task = try TextClassifier(model: model, head: "intent")
        for options in [CallOptions(threads: 0), CallOptions(kernel: "abacus"), CallOptions(deadline: -1),
            CallOptions(deadline: .nan), CallOptions(threads: .max)]
        {
            do {
                _ = try await task.classify("a", options: .init(call: options))
                XCTFail("no error for \(options)")
            } catch { XCTAssertEqual(error.code, 3, error.reason) }
        }
        do {
            _ = try await task.classify("a", options: .init(call: .init(deadline: 0)))
            XCTFail("no error for a deadline that has passed")
        } catch { XCTAssertEqual(error.code, 4, error.reason) }
        let empty = try await task.classify([String]())
        XCTAssertEqual(empty, [])

        let error: any Error = PocketBERTError.notFound("a reason")
        XCTAssertEqual(error.localizedDescription, "a reason")
    }

    /// A damaged byte anywhere is told, never read as something else.
    func testDamage() throws {
        let bytes = try Data(contentsOf: Files.tiny)
        for place in stride(from: 0, to: bytes.count, by: bytes.count / 40) {
            var copy = bytes
            copy[place] ^= 0x10
            XCTAssertThrowsError(try Model(data: copy), "byte \(place)") { XCTAssertTrue($0 is PocketBERTError) }
        }
    }

    func testRangesOfEmojiAndMarks() async throws {
        let text = "👩‍👩‍👧 e\u{301}te\u{301} in 東京: Angela Merkel visited Zürich 😀"
        let tagger = try TokenClassifier(bundle: Files.everyday, head: "entities")
        let entities = try await tagger.tag(text).entities
        XCTAssertTrue(entities.contains { $0.text == "Zürich" || $0.text.contains("Merkel") }, "\(entities)")
        for entity in entities {
            XCTAssertEqual(String(text[entity.range.range]), String(entity.text))
            let ns = (text as NSString).substring(with: entity.range.nsRange)
            XCTAssertEqual(ns, String(entity.text))
            let bytes = Array(text.utf8)[entity.range.utf8]
            XCTAssertEqual(String(decoding: bytes, as: UTF8.self), String(entity.text))
        }
        // A byte order mark is part of the text: nothing may be shifted by it.
        let marked = "\u{FEFF}" + text
        for entity in try await tagger.tag(marked).entities {
            XCTAssertEqual(String(marked[entity.range.range]), String(entity.text))
        }
    }

    func testTokens() throws {
        let found = try Model(bundle: Files.tiny).tokenize("Zürich 😀")
        XCTAssertTrue(found.tokens.first?.isSpecial ?? false)
        XCTAssertEqual(found.unknownCount, found.tokens.filter { $0.text == "[UNK]" }.count)
        XCTAssertFalse(found.isTruncated)
        let cut = try Model(bundle: Files.tiny).tokenize("a b c d e f g h", maximumTokenCount: 4)
        XCTAssertEqual(cut.tokens.count, 4)
        XCTAssertTrue(cut.isTruncated)
    }

    func testManyTasksAtOnce() async throws {
        let model = try Model(bundle: Files.tiny)
        let task = try TextClassifier(model: model, head: "intent")
        let texts = (0..<32).map { "play song number \($0) by somebody" }
        let expected = try await task.classify(texts)
        let answers = try await withThrowingTaskGroup(of: (Int, Classification).self) { group in
            for round in 0..<8 {
                for (i, text) in texts.enumerated() {
                    group.addTask {
                        let threads = 1 + (i + round) % 2
                        return (i, try await task.classify(text, options: .init(call: .init(threads: threads))))
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        XCTAssertEqual(answers.count, 256)
        for (i, answer) in answers { XCTAssertEqual(answer, expected[i]) }
    }

    func testCancellingStopsTheRun() async throws {
        let task = try TokenClassifier(bundle: Files.everyday, head: "entities")
        // Some minutes of work.
        let text = String(repeating: "Ada Lovelace lived in London and wrote to Charles Babbage. ", count: 20_000)
        let run = Task { try await task.tag(document: text) }
        try await Task.sleep(nanoseconds: 300_000_000)
        run.cancel()
        do {
            _ = try await run.value
            XCTFail("the run ended as if it had not been cancelled")
        } catch { XCTAssertEqual((error as? PocketBERTError)?.code, 1) }

        let before = Task { () -> Classification in
            while !Task.isCancelled { await Task.yield() }
            return try await TextClassifier(model: task.model, head: "sentiment").classify("a")
        }
        before.cancel()
        do {
            _ = try await before.value
            XCTFail("a cancelled task got an answer")
        } catch { XCTAssertEqual((error as? PocketBERTError)?.code, 1) }
    }

    func testLettingGoDuringACall() async throws {
        var task: TextClassifier? = try TextClassifier(bundle: Files.tiny, head: "intent")
        let expected = try await task?.classify("play some jazz")
        let running = (0..<16).map { _ in
            let held = task
            return Task { try await held?.classify("play some jazz") }
        }
        task = nil
        for run in running {
            let answer = try await run.value
            XCTAssertEqual(answer, expected)
        }
    }

    func testStreams() async throws {
        let task = try TextClassifier(bundle: Files.tiny, head: "intent")
        let texts = (0..<41).map { "book a table for \($0)" }
        let source = AsyncStream<String> { continuation in
            for text in texts { continuation.yield(text) }
            continuation.finish()
        }
        var answers: [Classification] = []
        for try await answer in task.classify(stream: source, batchSize: 8) { answers.append(answer) }
        let expected = try await task.classify(texts)
        XCTAssertEqual(answers, expected)
    }

    func testVectorsOfDifferentModelsAreNotCompared() async throws {
        let a = try await TextEmbedder(bundle: Files.tiny).embed("a cat")
        let b = try await TextEmbedder(bundle: Files.everyday).embed("a cat")
        XCTAssertThrowsError(try a.cosine(with: b))
        XCTAssertEqual(try a.cosine(with: a), 1, accuracy: 1e-6)
        XCTAssertEqual(try a.converted(to: .int8).cosine(with: a), 1, accuracy: 1e-2)
        XCTAssertEqual(try a.truncated(to: 16).values.count, 16)
        XCTAssertEqual(try a.nearest(among: [a, a], count: 1).first?.index, 0)
    }

    func testMetricsAndDrift() async throws {
        let task = try TextClassifier(bundle: Files.everyday)
        let secret = "zanzibarish"
        for _ in 0..<3 { _ = try await task.classify("a \(secret) film") }
        for text in [try task.metrics.json(), try task.metrics.prometheus()] {
            XCTAssertTrue(text.contains("text-classification"), text)
            XCTAssertFalse(text.contains(secret))
        }
        XCTAssertTrue(try task.metrics.watchDrift(window: 50, threshold: 0.2))
        for i in 0..<50 { _ = try await task.classify(String(repeating: "xq zv ", count: 1 + i)) }
        let drift = try XCTUnwrap(try task.metrics.drift())
        XCTAssertTrue(drift.hasDrifted)
        XCTAssertEqual(drift.axes.count, 4)
    }

    func testLogsNeverHoldTheText() async throws {
        let lines = Lines()
        try Logging.setLevel(.trace) { lines.add($1) }
        let secret = "zanzibarish"
        let task = try TextClassifier(bundle: Files.everyday)
        _ = try task.metrics.watchDrift(window: 50, threshold: 0.01)
        for _ in 0..<50 { _ = try await task.classify("\(secret) \(secret)") }
        try Logging.setLevel(.off)
        XCTAssertFalse(lines.all.isEmpty, "drift is a warning, so something must have been said")
        XCTAssertFalse(lines.all.contains { $0.contains(secret) })
        let count = lines.all.count
        for _ in 0..<50 { _ = try await task.classify(secret) }
        XCTAssertEqual(lines.all.count, count, "silent again")
    }

    /// POCKETBERT_ROUNDS: how often (10,000 for the record, fewer otherwise).
    func testOpeningAndLettingGoDoesNotGrow() async throws {
        let rounds = ProcessInfo.processInfo.environment["POCKETBERT_ROUNDS"].flatMap(Int.init) ?? 300
        func openAndAnswer() async throws {
            let task = try TextClassifier(bundle: Files.tiny, head: "intent", options: .init(defersWeightsHash: true))
            _ = try await task.classify("play some jazz")
        }
        for _ in 0..<100 { try await openAndAnswer() }
        let before = residentBytes()
        for _ in 0..<rounds { try await openAndAnswer() }
        let grown = residentBytes() - before
        print("\(rounds) rounds of opening, answering, letting go: \(grown / 1024) KiB more resident")
        XCTAssertLessThan(grown, 8 << 20)
    }
}

/// Lines from any thread.
final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []

    func add(_ line: String) { lock.withLock { lines.append(line) } }
    var all: [String] { lock.withLock { lines } }
}

func residentBytes() -> Int {
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
    return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
}
