import Foundation
internal import PocketBERTMobile

/// How to embed.
public struct EmbedOptions: Sendable, Hashable {
    /// How a text's tokens become one vector.
    public enum Pooling: Sendable, Hashable, CaseIterable {
        /// The first token's.
        case first
        /// The mean.
        case mean
        /// The largest value of each dimension.
        case max

        var mobile: PocketBERTMobile.Pooling {
            switch self {
            case .first: .first
            case .mean: .mean
            case .max: .max
            }
        }
    }

    /// What a text is: models may want a prefix for each.
    public enum Role: Sendable, Hashable, CaseIterable {
        /// Any text.
        case text
        /// What is searched for.
        case query
        /// What is searched in.
        case document

        var mobile: PocketBERTMobile.Role {
            switch self {
            case .text: .text
            case .query: .query
            case .document: .document
            }
        }
    }

    /// How a text's tokens become one vector; `nil`: as the bundle says.
    public var pooling: Pooling?
    /// Divide by the length, so that the scalar product is the cosine; `nil`: as the bundle says.
    public var isNormalized: Bool?
    /// Keep the first dimensions; `nil`: all.
    public var dimensionCount: Int?
    /// How numbers are kept.
    public var format: Embedding.Format
    /// What the text is.
    public var role: Role
    /// This prefix instead of the bundle's.
    public var prefix: String?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// All dimensions in four bytes each, as the bundle says.
    public init(
        pooling: Pooling? = nil, isNormalized: Bool? = nil, dimensionCount: Int? = nil,
        format: Embedding.Format = .float32, role: Role = .text, prefix: String? = nil,
        longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil, call: CallOptions = .init()
    ) {
        self.pooling = pooling
        self.isNormalized = isNormalized
        self.dimensionCount = dimensionCount
        self.format = format
        self.role = role
        self.prefix = prefix
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.EmbedOptions {
        .init(
            pooling: pooling?.mobile, normalize: isNormalized,
            dims: try Int32?(checking: dimensionCount, "dimensionCount"), format: format.mobile, role: role.mobile,
            prefix: prefix, tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
    }
}

/// The vector of a text.
///
/// It knows where it comes from: comparing vectors of different models, heads or poolings throws, since the number
/// would mean nothing.
public struct Embedding: Sendable, Hashable {
    /// How numbers are kept.
    public enum Format: Sendable, Hashable, CaseIterable {
        /// Four bytes each.
        case float32
        /// Two bytes each.
        case float16
        /// One byte each, and a scale.
        case int8

        var mobile: VectorFormat {
            switch self {
            case .float32: .f32
            case .float16: .f16
            case .int8: .i8
            }
        }

        init(_ format: VectorFormat) {
            self =
                switch format {
                case .f32: .float32
                case .f16: .float16
                case .i8: .int8
                }
        }
    }

    /// A candidate that was found.
    public struct Neighbor: Sendable, Hashable {
        /// Its index among the candidates.
        public let index: Int
        /// Its cosine with the query.
        public let similarity: Float
    }

    /// Its stored form, the same in every language of the library: write it to a file or a database.
    public let stored: Data
    /// Its numbers.
    public let values: [Float]
    /// How numbers are kept in ``stored``.
    public let format: Format
    /// Its length is 1.
    public let isUnit: Bool
    /// Names model, head and pooling.
    public let origin: String

    init(_ vector: Vector) {
        stored = vector.stored
        values = [Float](littleEndian: vector.values)
        format = Format(vector.format)
        isUnit = vector.unit
        origin = vector.origin
    }

    /// Reads a stored vector.
    public init(stored: Data) throws(PocketBERTError) {
        self.init(try PocketBERTError.translating { try vectorRead(stored: stored) })
    }

    /// The cosine of the angle between two vectors: 1 for the same direction, 0 for unrelated texts.
    public func cosine(with other: Embedding) throws(PocketBERTError) -> Float {
        try PocketBERTError.translating { try vectorCosine(a: stored, b: other.stored) }
    }

    /// The scalar product.
    public func dot(_ other: Embedding) throws(PocketBERTError) -> Float {
        try PocketBERTError.translating { try vectorDot(a: stored, b: other.stored) }
    }

    /// The same vector in another format.
    public func converted(to format: Format) throws(PocketBERTError) -> Embedding {
        Embedding(try PocketBERTError.translating { try vectorConvert(stored: stored, format: format.mobile) })
    }

    /// Its first dimensions.
    public func truncated(to dimensionCount: Int) throws(PocketBERTError) -> Embedding {
        let count = try Int32(checking: dimensionCount, "dimensionCount")
        return Embedding(try PocketBERTError.translating { try vectorTruncate(stored: stored, dims: count) })
    }

    /// The candidates that are nearest to this one, the nearest first.
    public func nearest(among candidates: [Embedding], count: Int) throws(PocketBERTError) -> [Neighbor] {
        let most = try Int32(checking: count, "count")
        let found = try PocketBERTError.translating {
            try vectorNearest(query: stored, candidates: candidates.map(\.stored), topK: most)
        }
        return found.map { Neighbor(index: Int($0.index), similarity: $0.similarity) }
    }
}

/// Makes vectors of texts: texts that mean the same have vectors that are near each other.
///
/// ```swift
/// let embedder = try TextEmbedder(bundle: url)
/// let a = try await embedder.embed("a cat sat here")
/// let b = try await embedder.embed("there sat a cat")
/// print(try a.cosine(with: b))
/// ```
public final class TextEmbedder: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.TextEmbedder

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.TextEmbedder.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// Dimensions of the head's vectors.
    public func dimensionCount() throws(PocketBERTError) -> Int {
        Int(try PocketBERTError.translating { try handle.dims() })
    }

    /// Embeds one text.
    public func embed(_ text: String, options: EmbedOptions = .init()) async throws(PocketBERTError) -> Embedding {
        let handle = handle
        return try await Runner.run(options.call) {
            Embedding(try handle.embed(text: text, options: options.mobile($0)))
        }
    }

    /// Embeds several texts in one run; vectors are in their order and have the bits of single calls.
    public func embed(
        _ texts: [String], options: EmbedOptions = .init()
    ) async throws(PocketBERTError) -> [Embedding] {
        let handle = handle
        return try await Runner.run(options.call) {
            try handle.embedBatch(texts: texts, options: options.mobile($0)).map(Embedding.init)
        }
    }

    /// Embeds a text of any length: the mean over its windows.
    public func embed(
        document text: String, windows: Windowing = .init(), options: EmbedOptions = .init(),
        onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> Embedding {
        let handle = handle
        return try await Runner.run(options.call) {
            Embedding(
                try handle.embedLong(text: text, options: options.mobile($0), windows: windows.mobile(onProgress)))
        }
    }

    /// Embeds texts as they come, `batchSize` at a time, and yields vectors in their order.
    public func embed<Texts: AsyncSequence & Sendable>(
        stream texts: Texts, batchSize: Int = 16, options: EmbedOptions = .init()
    ) -> AsyncThrowingStream<Embedding, any Error> where Texts.Element == String {
        batches(of: texts, size: batchSize) { try await self.embed($0, options: options) }
    }
}
