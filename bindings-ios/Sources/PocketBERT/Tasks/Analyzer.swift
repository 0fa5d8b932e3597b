import Foundation
internal import PocketBERTMobile

/// How to analyze.
public struct AnalyzeOptions: Sendable, Hashable {
    /// These heads; empty: all that need nothing but the text.
    public var heads: [String]
    /// Labels of a classification to keep; `nil`: all.
    public var topK: Int?
    /// A question to ask of the text, too.
    public var question: String?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// All heads.
    public init(
        heads: [String] = [], topK: Int? = nil, question: String? = nil, longText: LongTextPolicy = .keepStart,
        maximumTokenCount: Int? = nil, call: CallOptions = .init()
    ) {
        self.heads = heads
        self.topK = topK
        self.question = question
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.AnalyzeOptions {
        .init(
            heads: heads, topK: try Int32?(checking: topK, "topK"), question: question, tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
    }
}

/// What the heads of a model say of a text.
public struct Analysis: Sendable, Hashable {
    /// What one head says.
    public enum Answer: Sendable, Hashable {
        /// Of one that classifies.
        case labels(Classification)
        /// Of one that tags.
        case entities(Tagging)
        /// Of one that makes vectors.
        case embedding(Embedding)
        /// Of one that answers questions.
        case answers(AnswerSet)
    }

    /// One head's part.
    public struct HeadAnswer: Sendable, Hashable {
        /// The head's name.
        public let head: String
        /// What it does.
        public let task: String
        /// What it says.
        public let answer: Answer
    }

    /// In the bundle's order.
    public let heads: [HeadAnswer]
    /// Tokens that the model saw.
    public let tokenCount: Int
    /// The text was cut.
    public let isTruncated: Bool
    /// The model's version.
    public let modelVersion: String

    /// What the head of this name says; `nil` if it was not asked.
    public subscript(head: String) -> Answer? { heads.first { $0.head == head }?.answer }

    init(_ analysis: PocketBERTMobile.Analysis, of text: String, names: [String: [String]]) {
        heads = analysis.heads.map { part in
            let answer: Answer =
                switch part.answer {
                case .labels(let classification):
                    .labels(Classification(classification, names: names[part.head] ?? []))
                case .tags(let tagged): .entities(Tagging(tagged, in: text))
                case .embedding(let vector): .embedding(Embedding(vector))
                case .found(let answers): .answers(AnswerSet(answers, in: text))
                }
            return HeadAnswer(head: part.head, task: part.task, answer: answer)
        }
        tokenCount = Int(analysis.tokenCount)
        isTruncated = analysis.truncated
        modelVersion = analysis.modelVersion
    }
}

/// Asks several heads of a model about a text, for one run of its encoder.
///
/// ```swift
/// let analyzer = try Analyzer(bundle: url)
/// let analysis = try await analyzer.analyze("book a table for two in Paris")
/// if case .labels(let intent) = analysis["intent"] { print(intent.best?.name ?? "") }
/// ```
public final class Analyzer: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.Analyzer

    /// `head` must be `nil`: heads are named with each call.
    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.Analyzer.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// Names of the heads that can be asked.
    public func heads() throws(PocketBERTError) -> [String] {
        try PocketBERTError.translating { try handle.heads() }
    }

    /// Analyzes one text.
    public func analyze(
        _ text: String, options: AnalyzeOptions = .init()
    ) async throws(PocketBERTError) -> Analysis {
        let (handle, model) = (handle, model)
        return try await Runner.run(options.call) {
            Analysis(
                try handle.analyze(text: text, options: options.mobile($0)), of: text, names: try labelNames(model))
        }
    }

    /// Analyzes several texts in one run, in their order.
    public func analyze(
        _ texts: [String], options: AnalyzeOptions = .init()
    ) async throws(PocketBERTError) -> [Analysis] {
        let (handle, model) = (handle, model)
        return try await Runner.run(options.call) {
            let names = try labelNames(model)
            let all = try handle.analyzeBatch(texts: texts, options: options.mobile($0))
            return zip(all, texts).map { Analysis($0, of: $1, names: names) }
        }
    }

    /// Analyzes a text of any length: it is read in windows, once for all heads that share their windows.
    public func analyze(
        document text: String, windows: Windowing = .init(), options: AnalyzeOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> Analysis {
        let (handle, model) = (handle, model)
        return try await Runner.run(options.call) {
            Analysis(
                try handle.analyzeLong(text: text, options: options.mobile($0), windows: windows.mobile(onProgress)),
                of: text, names: try labelNames(model))
        }
    }
}

/// The labels of every head.
private func labelNames(_ model: Model) throws -> [String: [String]] {
    Dictionary(try model.info().heads.map { ($0.name, $0.labels) }, uniquingKeysWith: { first, _ in first })
}
