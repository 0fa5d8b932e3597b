import Foundation
internal import PocketBERTMobile

/// How to answer.
public struct AnswerOptions: Sendable, Hashable {
    /// At most this many answers, which do not overlap.
    public var topK: Int
    /// The longest answer in tokens.
    public var longestAnswer: Int
    /// Widen answers to whole words.
    public var wholeWords: Bool
    /// How much better than an answer "no answer" must be to win; `nil`: as the bundle says.
    public var noAnswerMargin: Float?
    /// How long contexts are read.
    public var windows: Windowing
    /// How the call runs.
    public var call: CallOptions

    /// The best answer of at most 30 tokens.
    public init(
        topK: Int = 1, longestAnswer: Int = 30, wholeWords: Bool = true, noAnswerMargin: Float? = nil,
        windows: Windowing = .init(), call: CallOptions = .init()
    ) {
        self.topK = topK
        self.longestAnswer = longestAnswer
        self.wholeWords = wholeWords
        self.noAnswerMargin = noAnswerMargin
        self.windows = windows
        self.call = call
    }

    func mobile(
        _ call: PocketBERTMobile.CallOptions, _ onProgress: ProgressHandler? = nil
    ) throws(PocketBERTError) -> PocketBERTMobile.AnswerOptions {
        .init(
            topK: try Int32(checking: topK, "topK"), maxTokens: try Int32(checking: longestAnswer, "longestAnswer"),
            wholeWords: wholeWords, noAnswer: noAnswerMargin, windows: try windows.mobile(onProgress), call: call)
    }
}

/// What was found for a question.
public struct AnswerSet: Sendable, Hashable {
    /// A stretch of the context.
    public struct Answer: Sendable, Hashable {
        /// How sure the model is, 0 to 1.
        public let score: Float
        /// What answers are ranked by.
        public let logit: Float
        /// Where it is in the context.
        public let range: TextRange
        /// What it says: a slice of the context.
        public let text: Substring
    }

    /// The best first.
    public let answers: [Answer]
    /// The context does not answer the question, the model says. ``answers`` holds its best guesses all the same.
    public let isUnanswerable: Bool
    /// By how much "no answer" is better than the best answer.
    public let noAnswerMargin: Float
    /// How sure the model is that there is no answer, 0 to 1.
    public let noAnswerScore: Float
    /// Windows in which the context was read.
    public let windowCount: Int
    /// The model's version.
    public let modelVersion: String

    /// The best answer; `nil` if there is none.
    public var best: Answer? { isUnanswerable ? nil : answers.first }

    init(_ found: PocketBERTMobile.Answers, in context: String) {
        answers = found.answers.map { answer in
            let range = TextRange(answer.span, in: context)
            return Answer(score: answer.score, logit: answer.logit, range: range, text: context[range.range])
        }
        isUnanswerable = found.noAnswer
        noAnswerMargin = found.nullMargin
        noAnswerScore = found.nullScore
        windowCount = Int(found.windows)
        modelVersion = found.modelVersion
    }
}

/// Finds the answer to a question in a text.
///
/// ```swift
/// let answerer = try QuestionAnswerer(bundle: url)
/// let found = try await answerer.answer("Where did she live?", in: "Ada Lovelace lived in London.")
/// print(found.best?.text ?? "no answer")
/// ```
public final class QuestionAnswerer: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.QuestionAnswerer

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.QuestionAnswerer.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// Answers one question; the context may have any length.
    public func answer(
        _ question: String, in context: String, options: AnswerOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> AnswerSet {
        let handle = handle
        return try await Runner.run(options.call) {
            AnswerSet(
                try handle.answer(question: question, context: context, options: options.mobile($0, onProgress)),
                in: context)
        }
    }

    /// Answers several questions in one run, in their order.
    public func answer(
        _ questions: [(question: String, context: String)], options: AnswerOptions = .init()
    ) async throws(PocketBERTError) -> [AnswerSet] {
        let handle = handle
        return try await Runner.run(options.call) {
            let pairs = questions.map { TextPair(text: $0.question, pair: $0.context) }
            let found = try handle.answerBatch(pairs: pairs, options: options.mobile($0))
            return zip(found, questions).map { AnswerSet($0, in: $1.context) }
        }
    }
}
