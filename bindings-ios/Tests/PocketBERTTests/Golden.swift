import Foundation
import XCTest

@testable import PocketBERT

/// The golden cases that every language of the library repeats (tests/golden/README.md).
struct Case {
    let id: String
    let json: [String: Any]

    static func read(_ name: String) throws -> [Case] {
        let text = try String(contentsOf: Files.root.appendingPathComponent("tests/golden/\(name)"), encoding: .utf8)
        return try text.split(separator: "\n").map { line in
            let json = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
            return Case(id: json["id"] as? String ?? "?", json: json)
        }
    }

    var task: String { json["task"] as? String ?? "" }
    var head: String? { json["head"] as? String }
    var texts: [String] { json["texts"] as? [String] ?? [] }
    var pairs: [(String, String)] { (json["pairs"] as? [[String]] ?? []).map { ($0[0], $0[1]) } }
    var words: [[String]]? { json["words"] as? [[String]] }
    var options: [String: Any] { json["options"] as? [String: Any] ?? [:] }
    var answers: [[String: Any]]? { json["answers"] as? [[String: Any]] }
    var errorKind: String? { (json["error"] as? [String: Any])?["kind"] as? String }

    var windows: Windowing? {
        guard let long = json["long"] as? [String: Any] else { return nil }
        let merge = (long["merge"] as? String).flatMap { name in
            Windowing.Merge.allCases.first { "\($0)" == name }
        }
        return Windowing(
            window: long["window"] as? Int, stride: long["stride"] as? Int, merge: merge ?? .weighted)
    }
}

enum Files {
    /// The repository.
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let tiny = root.appendingPathComponent("models/tiny.pbert")
    static let everyday = root.appendingPathComponent("models/everyday.pbert")
}

/// A float's bits as golden files write them.
func bits(_ value: Float) -> String { String(format: "%08x", value.bitPattern) }

let kinds: [String: Int] = [
    "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15,
]

final class GoldenTests: XCTestCase {
    func testTiny() async throws { try await repeatAll("tiny-tasks.jsonl", Files.tiny, atLeast: 70) }
    func testEveryday() async throws { try await repeatAll("everyday-tasks.jsonl", Files.everyday, atLeast: 15) }

    private func repeatAll(_ name: String, _ bundle: URL, atLeast: Int) async throws {
        let model = try await Model.open(bundle: bundle)
        var done = 0
        for c in try Case.read(name) {
            do {
                guard let answers = try await Answering(model: model, c: c).run() else { continue }
                XCTAssertNil(c.errorKind, "\(c.id): an answer instead of an error")
                let expected = c.answers ?? []
                XCTAssertEqual(answers.count, expected.count, c.id)
                for (got, want) in zip(answers, expected) { compare(got, want, c.id) }
            } catch let error as PocketBERTError {
                XCTAssertEqual(error.code, c.errorKind.flatMap { kinds[$0] }, "\(c.id): \(error.reason)")
                XCTAssertFalse(error.reason.isEmpty)
            }
            done += 1
        }
        XCTAssertGreaterThanOrEqual(done, atLeast, "cases of \(name) that were repeated")
    }

    /// Every field that this language has must be equal; lists must be equally long.
    private func compare(_ got: Any, _ want: Any, _ id: String) {
        switch (got, want) {
        case (let got as [String: Any], let want as [String: Any]):
            for (key, value) in got {
                guard let expected = want[key] else {
                    XCTFail("\(id): nothing recorded for `\(key)`")
                    continue
                }
                compare(value, expected, "\(id).\(key)")
            }
        case (let got as [Any], let want as [Any]):
            XCTAssertEqual(got.count, want.count, id)
            for (i, (g, w)) in zip(got, want).enumerated() { compare(g, w, "\(id)[\(i)]") }
        case (let got as String, let want as String): XCTAssertEqual(got, want, id)
        case (let got as Bool, let want as Bool) where want == got: break
        case (let got as Int, let want as Int): XCTAssertEqual(got, want, id)
        default: XCTFail("\(id): \(got) is not \(want)")
        }
    }
}

/// Answers one case and writes the answer as the golden files do.
struct Answering {
    let model: Model
    let c: Case

    /// `nil`: a case that this language cannot even spell.
    func run() async throws -> [[String: Any]]? {
        switch c.task {
        case "classify": try await classify()
        case "tag": try await tag()
        case "answer": try await answer()
        case "summarize": try await summarize()
        case "embed": try await embed()
        case "rerank": try await rerank()
        case "fill-mask": try await fill()
        case "zero-shot": try await zeroShot()
        case "analyze": try await analyze()
        default: nil
        }
    }

    private func int(_ name: String) -> Int? { c.options[name] as? Int }
    private func float(_ name: String) -> Float? { (c.options[name] as? NSNumber)?.floatValue }
    private func strings(_ name: String) -> [String]? { c.options[name] as? [String] }
    private var longText: LongTextPolicy {
        switch c.options["truncation"] as? String {
        case "tail": .keepEnd
        case "head-tail": .keepBothEnds
        case "refuse": .refuse
        default: .keepStart
        }
    }

    static func spans(_ range: TextRange, chars: Bool = true, in text: String) -> [String: Any] {
        let scalars = text.unicodeScalars
        let first = scalars.distance(from: scalars.startIndex, to: range.range.lowerBound)
        let last = scalars.distance(from: scalars.startIndex, to: range.range.upperBound)
        return [
            "bytes": [range.utf8.lowerBound, range.utf8.upperBound],
            "utf16": [range.utf16.lowerBound, range.utf16.upperBound],
            "chars": [first, last],
        ]
    }

    static func json(_ a: Classification) -> [String: Any] {
        [
            "labels": a.labels.map {
                [
                    "label": $0.name, "index": $0.index, "probability": bits($0.probability),
                    "logit": bits(a.logits[$0.index]),
                ] as [String: Any]
            },
            "tokens": a.tokenCount, "truncated": a.isTruncated,
        ]
    }

    static func json(_ a: Tagging, in text: String) -> [String: Any] {
        [
            "entities": a.entities.map { e in
                var one = spans(e.range, in: text)
                one["label"] = e.label
                one["score"] = bits(e.score)
                if let words = e.words { one["words"] = [words.lowerBound, words.upperBound] }
                return one
            },
            "tokens": a.tokenCount, "truncated": a.isTruncated,
        ]
    }

    static func json(_ a: AnswerSet, in text: String) -> [String: Any] {
        [
            "answers": a.answers.map { answer in
                var one = spans(answer.range, in: text)
                one["score"] = bits(answer.score)
                one["logit"] = bits(answer.logit)
                return one
            },
            "no_answer": a.isUnanswerable, "null_margin": bits(a.noAnswerMargin),
            "null_score": bits(a.noAnswerScore), "windows": a.windowCount,
        ]
    }

    private func classify() async throws -> [[String: Any]]? {
        let task = try TextClassifier(model: model, head: c.head)
        let options = ClassifyOptions(
            topK: int("top_k"), threshold: float("threshold"), allow: strings("allow") ?? [],
            deny: strings("deny") ?? [], isMultiLabel: c.options["multi_label"] as? Bool, longText: longText,
            maximumTokenCount: int("max_length"))
        // Swift's types do not let single texts and pairs be mixed.
        if !c.pairs.isEmpty && !c.texts.isEmpty { return nil }
        if let windows = c.windows {
            var all: [[String: Any]] = []
            for text in c.texts {
                all.append(Self.json(try await task.classify(document: text, windows: windows, options: options)))
            }
            return all
        }
        if !c.pairs.isEmpty {
            let pairs = c.pairs.map { (text: $0.0, other: $0.1) }
            let batch = try await task.classify(pairs: pairs, options: options)
            let first = try await task.classify(pairs[0].text, pairedWith: pairs[0].other, options: options)
            XCTAssertEqual(first, batch[0], c.id)
            return batch.map(Self.json)
        }
        let batch = try await task.classify(c.texts, options: options)
        for (text, answer) in zip(c.texts, batch) {
            let single = try await task.classify(text, options: options)
            XCTAssertEqual(single, answer, c.id)
        }
        return batch.map(Self.json)
    }

    private func tag() async throws -> [[String: Any]]? {
        let task = try TokenClassifier(model: model, head: c.head)
        var options = TagOptions(
            ignore: strings("ignore"), threshold: float("threshold"), longText: longText,
            maximumTokenCount: int("max_length"))
        switch c.options["aggregation"] as? String {
        case "none": options.aggregation = .eachToken
        case "simple": options.aggregation = .simple
        case "average": options.aggregation = .average
        case "max": options.aggregation = .max
        default: options.aggregation = .first
        }
        switch c.options["scheme"] as? String {
        case "bio": options.scheme = .bio
        case "iob2": options.scheme = .strictBIO
        case "bilou": options.scheme = .bilou
        case "none": options.scheme = .plain
        default: break
        }
        if let words = c.words {
            var all: [[String: Any]] = []
            for one in words {
                all.append(
                    Self.json(try await task.tag(words: one, options: options), in: one.joined(separator: " ")))
            }
            return all
        }
        if let windows = c.windows {
            var all: [[String: Any]] = []
            for text in c.texts {
                all.append(
                    Self.json(try await task.tag(document: text, windows: windows, options: options), in: text))
            }
            return all
        }
        let batch = try await task.tag(c.texts, options: options)
        for (text, answer) in zip(c.texts, batch) {
            let single = try await task.tag(text, options: options)
            XCTAssertEqual(single.entities.map(\.range.utf8), answer.entities.map(\.range.utf8), c.id)
            for entity in answer.entities { XCTAssertEqual(String(text[entity.range.range]), String(entity.text)) }
        }
        return zip(batch, c.texts).map { Self.json($0, in: $1) }
    }

    private func answer() async throws -> [[String: Any]]? {
        let task = try QuestionAnswerer(model: model, head: c.head)
        let options = AnswerOptions(
            topK: int("top_k") ?? 1, longestAnswer: int("max_tokens") ?? 30,
            wholeWords: c.options["whole_words"] as? Bool ?? true, noAnswerMargin: float("no_answer"),
            windows: c.windows ?? .init())
        let found = try await task.answer(c.pairs.map { (question: $0.0, context: $0.1) }, options: options)
        return zip(found, c.pairs).map { Self.json($0, in: $1.1) }
    }

    private func summarize() async throws -> [[String: Any]]? {
        let task = try Summarizer(model: model, head: c.head)
        var options = SummaryOptions()
        if let n = int("sentences") { options.sentenceCount = n }
        switch c.options["centrality"] as? String {
        case "centroid": options.centrality = .centroid
        case "lexrank": options.centrality = .lexRank
        case "lead": options.centrality = .lead
        default: break
        }
        var all: [[String: Any]] = []
        for text in c.texts {
            let summary = try await task.summarize(text, options: options)
            all.append([
                "sentences": summary.sentences.map { sentence in
                    var one = Self.spans(sentence.range, in: text)
                    one["index"] = sentence.index
                    one["score"] = bits(sentence.score)
                    return one
                },
                "of": summary.totalCount,
            ])
        }
        return all
    }

    private func embed() async throws -> [[String: Any]]? {
        let task = try TextEmbedder(model: model, head: c.head)
        var options = EmbedOptions(
            isNormalized: c.options["normalize"] as? Bool, dimensionCount: int("dims"),
            prefix: c.options["prefix"] as? String, longText: longText, maximumTokenCount: int("max_length"))
        switch c.options["format"] as? String {
        case "f16": options.format = .float16
        case "i8": options.format = .int8
        default: break
        }
        switch c.options["pooling"] as? String {
        case "cls": options.pooling = .first
        case "mean": options.pooling = .mean
        case "max": options.pooling = .max
        default: break
        }
        switch c.options["role"] as? String {
        case "query": options.role = .query
        case "document": options.role = .document
        default: break
        }
        var vectors: [Embedding] = []
        if let windows = c.windows {
            for text in c.texts {
                vectors.append(try await task.embed(document: text, windows: windows, options: options))
            }
        } else {
            vectors = try await task.embed(c.texts, options: options)
        }
        return try vectors.map { v in
            let again = try Embedding(stored: v.stored)
            XCTAssertEqual(again, v, c.id)
            let format =
                switch v.format {
                case .float32: "f32"
                case .float16: "f16"
                case .int8: "i8"
                }
            return [
                "format": format, "values": v.values.map(bits), "cosine": bits(try v.cosine(with: vectors[0])),
            ]
        }
    }

    private func rerank() async throws -> [[String: Any]]? {
        let task = try Reranker(model: model, head: c.head)
        let query = c.json["query"] as? String ?? ""
        let options = RerankOptions(topK: int("top_k"))
        let ranked =
            if let windows = c.windows {
                try await task.rank(longDocuments: c.texts, by: query, windows: windows, options: options)
            } else {
                try await task.rank(c.texts, by: query, options: options)
            }
        return ranked.map { ["index": $0.index, "score": bits($0.score)] }
    }

    /// The answers to `texts`: all at once, or each in the windows of the case.
    private func read<Answer>(
        _ texts: [String], batch: ([String]) async throws -> [Answer],
        windows: (String, Windowing) async throws -> Answer
    ) async throws -> [Answer] {
        guard let long = c.windows else { return try await batch(texts) }
        var all: [Answer] = []
        for text in texts { all.append(try await windows(text, long)) }
        return all
    }

    private func fill() async throws -> [[String: Any]]? {
        let task = try MaskFiller(model: model, head: c.head)
        let options = FillMaskOptions(
            topK: int("top_k") ?? 5, targets: strings("targets") ?? [], longText: longText,
            maximumTokenCount: int("max_length"))
        let all = try await read(c.texts) {
            try await task.fill($0, options: options)
        } windows: {
            try await task.fill(document: $0, windows: $1, options: options)
        }
        return all.map { fill in
            [
                "masks": fill.masks.map { mask in
                    [
                        "bytes": [mask.range.utf8.lowerBound, mask.range.utf8.upperBound],
                        "candidates": mask.candidates.map {
                            [
                                "token": $0.token, "id": $0.id, "probability": bits($0.probability),
                                "filled": $0.filled,
                            ] as [String: Any]
                        },
                    ] as [String: Any]
                },
                "tokens": fill.tokenCount, "truncated": fill.isTruncated,
            ]
        }
    }

    private func zeroShot() async throws -> [[String: Any]]? {
        let task = try ZeroShotClassifier(model: model, head: c.head)
        let options = ZeroShotOptions(
            template: c.options["template"] as? String, isMultiLabel: c.options["multi_label"] as? Bool ?? false,
            topK: int("top_k"), threshold: float("threshold"), longText: longText,
            maximumTokenCount: int("max_length"))
        let labels = c.json["labels"] as? [String] ?? []
        let all = try await read(c.texts) {
            try await task.classify($0, labels: labels, options: options)
        } windows: {
            try await task.classify(document: $0, labels: labels, windows: $1, options: options)
        }
        return all.map { answer in
            [
                "labels": answer.labels.map {
                    ["label": $0.name, "index": $0.index, "probability": bits($0.probability)] as [String: Any]
                },
                "truncated": answer.isTruncated,
            ]
        }
    }

    private func analyze() async throws -> [[String: Any]]? {
        let task = try Analyzer(model: model)
        let options = AnalyzeOptions(
            heads: strings("heads") ?? [], topK: int("top_k"), question: c.options["question"] as? String,
            longText: longText, maximumTokenCount: int("max_length"))
        let all = try await read(c.texts) {
            try await task.analyze($0, options: options)
        } windows: {
            try await task.analyze(document: $0, windows: $1, options: options)
        }
        return zip(all, c.texts).map { analysis, text in
            [
                "heads": analysis.heads.map { head in
                    let answer: [String: Any] =
                        switch head.answer {
                        case .labels(let a): Self.json(a)
                        case .entities(let a): Self.json(a, in: text)
                        case .answers(let a): Self.json(a, in: text)
                        case .embedding(let v): ["format": "f32", "values": v.values.map(bits)]
                        }
                    return ["head": head.head, "answer": answer] as [String: Any]
                },
                "tokens": analysis.tokenCount, "truncated": analysis.isTruncated,
            ]
        }
    }
}
