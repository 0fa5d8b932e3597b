import Foundation
internal import PocketBERTMobile

/// How to tag.
public struct TagOptions: Sendable, Hashable {
    /// How labels of tokens become labels of spans.
    public enum Aggregation: Sendable, Hashable, CaseIterable {
        /// Every token by itself.
        case eachToken
        /// Neighbours of one kind joined.
        case simple
        /// By each word's first token.
        case first
        /// By the mean over each word's tokens.
        case average
        /// By each word's surest token.
        case max

        var mobile: PocketBERTMobile.Aggregation {
            switch self {
            case .eachToken: .eachToken
            case .simple: .simple
            case .first: .first
            case .average: .average
            case .max: .max
            }
        }
    }

    /// What the first letters of labels mean.
    public enum Scheme: Sendable, Hashable, CaseIterable {
        /// `B-` and `I-`.
        case bio
        /// The same, strictly: a span must begin with `B-`.
        case strictBIO
        /// `B-`, `I-`, `L-` and `U-`.
        case bilou
        /// Nothing: labels have no prefixes.
        case plain

        var mobile: TagScheme {
            switch self {
            case .bio: .bio
            case .strictBIO: .bioStrict
            case .bilou: .bilou
            case .plain: .plain
            }
        }
    }

    /// How labels of tokens become labels of spans.
    public var aggregation: Aggregation
    /// What the first letters of labels mean; `nil`: as the bundle says.
    public var scheme: Scheme?
    /// Labels that make no span; `nil`: `O`.
    public var ignore: [String]?
    /// Leave out spans with a smaller score.
    public var threshold: Float?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// Words by their first token.
    public init(
        aggregation: Aggregation = .first, scheme: Scheme? = nil, ignore: [String]? = nil, threshold: Float? = nil,
        longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil, call: CallOptions = .init()
    ) {
        self.aggregation = aggregation
        self.scheme = scheme
        self.ignore = ignore
        self.threshold = threshold
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.TagOptions {
        .init(
            aggregation: aggregation.mobile, scheme: scheme?.mobile, ignore: ignore, threshold: threshold,
            tooLong: longText.mobile, maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"),
            call: call)
    }
}

/// A labelled stretch of a text.
public struct Entity: Sendable, Hashable {
    /// Its kind, such as `person`.
    public let label: String
    /// How sure the model is, 0 to 1.
    public let score: Float
    /// Where it is: of a call with words, in the words joined by one space.
    public let range: TextRange
    /// What it says: a slice of the text that was given.
    public let text: Substring
    /// The words that it covers; `nil` unless words were given.
    public let words: Range<Int>?
}

/// The labelled stretches of a text.
public struct Tagging: Sendable, Hashable {
    /// In the order of the text.
    public let entities: [Entity]
    /// Tokens that the model saw.
    public let tokenCount: Int
    /// The text was cut.
    public let isTruncated: Bool
    /// The model's version.
    public let modelVersion: String

    init(_ answer: PocketBERTMobile.Tagged, in text: String) {
        entities = answer.entities.map { entity in
            let range = TextRange(entity.span, in: text)
            var words: Range<Int>?
            if let first = entity.firstWord, let last = entity.lastWord { words = Int(first)..<Int(max(first, last)) }
            return Entity(
                label: entity.label, score: entity.score, range: range, text: text[range.range], words: words)
        }
        tokenCount = Int(answer.tokenCount)
        isTruncated = answer.truncated
        modelVersion = answer.modelVersion
    }
}

/// Finds names, slots and other stretches of a text.
///
/// ```swift
/// let tagger = try TokenClassifier(bundle: url, head: "entities")
/// for entity in try await tagger.tag("Send the report to John Smith in Berlin").entities {
///     print(entity.label, entity.text)
/// }
/// ```
public final class TokenClassifier: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.TokenClassifier

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.TokenClassifier.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// The head's labels by index, with their prefixes.
    public func labels() throws(PocketBERTError) -> [String] {
        try PocketBERTError.translating { try handle.labels() }
    }

    /// Tags one text.
    public func tag(_ text: String, options: TagOptions = .init()) async throws(PocketBERTError) -> Tagging {
        let handle = handle
        return try await Runner.run(options.call) {
            Tagging(try handle.tag(text: text, options: options.mobile($0)), in: text)
        }
    }

    /// Tags several texts in one run; answers are in their order and have the bits of single calls.
    public func tag(_ texts: [String], options: TagOptions = .init()) async throws(PocketBERTError) -> [Tagging] {
        let handle = handle
        return try await Runner.run(options.call) {
            let answers = try handle.tagBatch(texts: texts, options: options.mobile($0))
            return zip(answers, texts).map { Tagging($0, in: $1) }
        }
    }

    /// Tags a text that is split into words already.
    public func tag(words: [String], options: TagOptions = .init()) async throws(PocketBERTError) -> Tagging {
        let handle = handle
        return try await Runner.run(options.call) {
            Tagging(
                try handle.tagWords(words: words, options: options.mobile($0)), in: words.joined(separator: " "))
        }
    }

    /// Tags a text of any length: it is read in windows, whose spans are merged.
    public func tag(
        document text: String, windows: Windowing = .init(), options: TagOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> Tagging {
        let handle = handle
        return try await Runner.run(options.call) {
            Tagging(
                try handle.tagLong(text: text, options: options.mobile($0), windows: windows.mobile(onProgress)), in: text)
        }
    }

    /// Tags texts as they come, `batchSize` at a time, and yields answers in their order.
    public func tag<Texts: AsyncSequence & Sendable>(
        stream texts: Texts, batchSize: Int = 16, options: TagOptions = .init()
    ) -> AsyncThrowingStream<Tagging, any Error> where Texts.Element == String {
        batches(of: texts, size: batchSize) { try await self.tag($0, options: options) }
    }
}
