import Foundation
internal import PocketBERTMobile

/// How to classify by labels that are given with the call.
public struct ZeroShotOptions: Sendable, Hashable {
    /// The sentence that a label makes, with one `{}` for it; `nil`: the usual one.
    public var template: String?
    /// Judge every label by itself.
    public var isMultiLabel: Bool
    /// Keep this many labels; `nil`: all.
    public var topK: Int?
    /// Leave out labels that are less probable.
    public var threshold: Float?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// One label is right.
    public init(
        template: String? = nil, isMultiLabel: Bool = false, topK: Int? = nil, threshold: Float? = nil,
        longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil, call: CallOptions = .init()
    ) {
        self.template = template
        self.isMultiLabel = isMultiLabel
        self.topK = topK
        self.threshold = threshold
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.ZeroShotOptions {
        .init(
            template: template, multiLabel: isMultiLabel, topK: try Int32?(checking: topK, "topK"),
            threshold: threshold, tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
    }
}

/// How well given labels fit a text.
public struct ZeroShotClassification: Sendable, Hashable {
    /// A label and how probable it is.
    public struct Label: Sendable, Hashable {
        /// The label.
        public let name: String
        /// Its index among those given.
        public let index: Int
        /// 0 to 1.
        public let probability: Float
    }

    /// The most probable first.
    public let labels: [Label]
    /// The text was cut.
    public let isTruncated: Bool
    /// The model's version.
    public let modelVersion: String

    /// The most probable label; `nil` if options left out all of them.
    public var best: Label? { labels.first }

    init(_ answer: PocketBERTMobile.ZeroShot, names: [String]) {
        labels = answer.labels.map { label in
            let index = Int(label.index)
            return Label(
                name: names.indices.contains(index) ? names[index] : "", index: index, probability: label.probability)
        }
        isTruncated = answer.truncated
        modelVersion = answer.modelVersion
    }
}

/// Classifies by labels that the app gives with the call, through a head that judges entailment.
public final class ZeroShotClassifier: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.ZeroShotClassifier

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.ZeroShotClassifier.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// Classifies one text.
    public func classify(
        _ text: String, labels: [String], options: ZeroShotOptions = .init()
    ) async throws(PocketBERTError) -> ZeroShotClassification {
        let handle = handle
        return try await Runner.run(options.call) {
            ZeroShotClassification(
                try handle.classify(text: text, labels: labels, options: options.mobile($0)), names: labels)
        }
    }

    /// Classifies several texts in one run, in their order.
    public func classify(
        _ texts: [String], labels: [String], options: ZeroShotOptions = .init()
    ) async throws(PocketBERTError) -> [ZeroShotClassification] {
        let handle = handle
        return try await Runner.run(options.call) {
            try handle.classifyBatch(texts: texts, labels: labels, options: options.mobile($0))
                .map { ZeroShotClassification($0, names: labels) }
        }
    }

    /// Classifies a text of any length: it is read in windows, the same ones for every label.
    public func classify(
        document text: String, labels: [String], windows: Windowing = .init(), options: ZeroShotOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> ZeroShotClassification {
        let handle = handle
        return try await Runner.run(options.call) {
            ZeroShotClassification(
                try handle.classifyLong(
                    text: text, labels: labels, options: options.mobile($0), windows: windows.mobile(onProgress)),
                names: labels)
        }
    }
}
