import Foundation
internal import PocketBERTMobile

/// How to fill gaps.
public struct FillMaskOptions: Sendable, Hashable {
    /// Candidates per gap.
    public var topK: Int
    /// Only these tokens; empty: all.
    public var targets: [String]
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// The five best candidates.
    public init(
        topK: Int = 5, targets: [String] = [], longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil,
        call: CallOptions = .init()
    ) {
        self.topK = topK
        self.targets = targets
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.FillMaskOptions {
        .init(
            topK: try Int32(checking: topK, "topK"), targets: targets, tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
    }
}

/// What could stand in the gaps of a text.
public struct MaskFill: Sendable, Hashable {
    /// A token for a gap.
    public struct Candidate: Sendable, Hashable {
        /// As the vocabulary spells it.
        public let token: String
        /// Its number in the vocabulary.
        public let id: Int
        /// 0 to 1.
        public let probability: Float
        /// The text with this gap filled.
        public let filled: String
    }

    /// A gap.
    public struct Mask: Sendable, Hashable {
        /// Where it is.
        public let range: TextRange
        /// The most probable first.
        public let candidates: [Candidate]
    }

    /// In the order of the text.
    public let masks: [Mask]
    /// Tokens that the model saw.
    public let tokenCount: Int
    /// The text was cut.
    public let isTruncated: Bool
    /// The model's version.
    public let modelVersion: String

    init(_ fill: PocketBERTMobile.MaskFill, in text: String) {
        masks = fill.masks.map { mask in
            Mask(
                range: TextRange(mask.span, in: text),
                candidates: mask.candidates.map {
                    Candidate(token: $0.token, id: Int($0.id), probability: $0.probability, filled: $0.filled)
                })
        }
        tokenCount = Int(fill.tokenCount)
        isTruncated = fill.truncated
        modelVersion = fill.modelVersion
    }
}

/// Says what could stand in the gaps of a text.
public final class MaskFiller: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.MaskFiller

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.MaskFiller.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// What to write where a token is missing, such as `[MASK]`.
    public func maskToken() throws(PocketBERTError) -> String {
        try PocketBERTError.translating { try handle.maskToken() }
    }

    /// Fills the gaps of one text.
    public func fill(_ text: String, options: FillMaskOptions = .init()) async throws(PocketBERTError) -> MaskFill {
        let handle = handle
        return try await Runner.run(options.call) {
            MaskFill(try handle.fill(text: text, options: options.mobile($0)), in: text)
        }
    }

    /// Fills the gaps of several texts in one run, in their order.
    public func fill(
        _ texts: [String], options: FillMaskOptions = .init()
    ) async throws(PocketBERTError) -> [MaskFill] {
        let handle = handle
        return try await Runner.run(options.call) {
            let fills = try handle.fillBatch(texts: texts, options: options.mobile($0))
            return zip(fills, texts).map { MaskFill($0, in: $1) }
        }
    }

    /// Fills the gaps of a text of any length: each sees the window that shows most of its surroundings.
    public func fill(
        document text: String, windows: Windowing = .init(), options: FillMaskOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> MaskFill {
        let handle = handle
        return try await Runner.run(options.call) {
            MaskFill(
                try handle.fillLong(text: text, options: options.mobile($0), windows: windows.mobile(onProgress)),
                in: text)
        }
    }
}
