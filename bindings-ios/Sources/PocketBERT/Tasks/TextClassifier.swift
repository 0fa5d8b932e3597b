import Foundation
internal import PocketBERTMobile

/// How to classify.
public struct ClassifyOptions: Sendable, Hashable {
    /// Keep this many labels; `nil`: all.
    public var topK: Int?
    /// Leave out labels that are less probable; `nil`: the bundle's thresholds, if it has any.
    public var threshold: Float?
    /// Only these labels; empty: all.
    public var allow: [String]
    /// All but these labels.
    public var deny: [String]
    /// Judge every label by itself; `nil`: as the bundle says.
    public var isMultiLabel: Bool?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// All labels, as the bundle says.
    public init(
        topK: Int? = nil, threshold: Float? = nil, allow: [String] = [], deny: [String] = [],
        isMultiLabel: Bool? = nil, longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil,
        call: CallOptions = .init()
    ) {
        self.topK = topK
        self.threshold = threshold
        self.allow = allow
        self.deny = deny
        self.isMultiLabel = isMultiLabel
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.ClassifyOptions {
        .init(
            topK: try Int32?(checking: topK, "topK"), threshold: threshold, allow: allow, deny: deny,
            multiLabel: isMultiLabel, tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
    }
}

/// The labels of a text.
public struct Classification: Sendable, Hashable {
    /// A label and how probable it is.
    public struct Label: Sendable, Hashable {
        /// The label.
        public let name: String
        /// Its number in the head.
        public let index: Int
        /// 0 to 1, calibrated where the bundle carries a temperature; of a regression head the value itself.
        public let probability: Float
    }

    /// The most probable first.
    public let labels: [Label]
    /// The model's raw output, a number per label of the head.
    public let logits: [Float]
    /// Tokens that the model saw.
    public let tokenCount: Int
    /// The text was cut.
    public let isTruncated: Bool
    /// The model's version.
    public let modelVersion: String

    /// The most probable label; `nil` if options left out all of them.
    public var best: Label? { labels.first }

    init(_ answer: PocketBERTMobile.Classification, names: [String]) {
        labels = answer.labels.map { label in
            let index = Int(label.index)
            return Label(
                name: names.indices.contains(index) ? names[index] : "", index: index, probability: label.probability)
        }
        logits = [Float](littleEndian: answer.logits)
        tokenCount = Int(answer.tokenCount)
        isTruncated = answer.truncated
        modelVersion = answer.modelVersion
    }
}

/// Puts texts into classes: sentiment, intent, spam, and whatever else a bundle has a head for.
///
/// ```swift
/// let classifier = try TextClassifier(bundle: url)
/// let answer = try await classifier.classify("What a wonderful film!")
/// print(answer.best?.name ?? "none")
/// ```
public final class TextClassifier: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.TextClassifier

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.TextClassifier.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// The head's labels by index.
    public func labels() throws(PocketBERTError) -> [String] {
        try PocketBERTError.translating { try handle.labels() }
    }

    /// Classifies one text.
    public func classify(
        _ text: String, options: ClassifyOptions = .init()
    ) async throws(PocketBERTError) -> Classification {
        let handle = handle
        return try await Runner.run(options.call) {
            Classification(
                try handle.classify(text: text, options: options.mobile($0)), names: try handle.labels())
        }
    }

    /// Classifies a pair of texts that are read together.
    public func classify(
        _ text: String, pairedWith other: String, options: ClassifyOptions = .init()
    ) async throws(PocketBERTError) -> Classification {
        let handle = handle
        return try await Runner.run(options.call) {
            let pair = TextPair(text: text, pair: other)
            return Classification(
                try handle.classifyPair(pair: pair, options: options.mobile($0)), names: try handle.labels())
        }
    }

    /// Classifies several texts in one run; answers are in their order and have the bits of single calls.
    public func classify(
        _ texts: [String], options: ClassifyOptions = .init()
    ) async throws(PocketBERTError) -> [Classification] {
        let handle = handle
        return try await Runner.run(options.call) {
            let names = try handle.labels()
            return try handle.classifyBatch(texts: texts, options: options.mobile($0))
                .map { Classification($0, names: names) }
        }
    }

    /// Classifies several pairs in one run.
    public func classify(
        pairs: [(text: String, other: String)], options: ClassifyOptions = .init()
    ) async throws(PocketBERTError) -> [Classification] {
        let handle = handle
        return try await Runner.run(options.call) {
            let names = try handle.labels()
            let pairs = pairs.map { TextPair(text: $0.text, pair: $0.other) }
            return try handle.classifyPairs(pairs: pairs, options: options.mobile($0))
                .map { Classification($0, names: names) }
        }
    }

    /// Classifies a text of any length: it is read in windows, whose answers become one.
    public func classify(
        document text: String, windows: Windowing = .init(), options: ClassifyOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> Classification {
        let handle = handle
        return try await Runner.run(options.call) {
            Classification(
                try handle.classifyLong(text: text, options: options.mobile($0), windows: windows.mobile(onProgress)),
                names: try handle.labels())
        }
    }

    /// Classifies texts as they come, `batchSize` at a time, and yields answers in their order.
    public func classify<Texts: AsyncSequence & Sendable>(
        stream texts: Texts, batchSize: Int = 16, options: ClassifyOptions = .init()
    ) -> AsyncThrowingStream<Classification, any Error> where Texts.Element == String {
        batches(of: texts, size: batchSize) { try await self.classify($0, options: options) }
    }
}
