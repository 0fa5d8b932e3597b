import Foundation
internal import PocketBERTMobile

/// How to rank.
public struct RerankOptions: Sendable, Hashable {
    /// Keep the best; `nil`: all.
    public var topK: Int?
    /// What to keep of a long text.
    public var longText: LongTextPolicy
    /// The most tokens; `nil`: as many as the model takes.
    public var maximumTokenCount: Int?
    /// How the call runs.
    public var call: CallOptions

    /// All documents.
    public init(
        topK: Int? = nil, longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil,
        call: CallOptions = .init()
    ) {
        self.topK = topK
        self.longText = longText
        self.maximumTokenCount = maximumTokenCount
        self.call = call
    }
}

/// A document's place.
public struct RankedDocument: Sendable, Hashable {
    /// Its index among the documents that were given.
    public let index: Int
    /// How well it fits.
    public let score: Float
}

/// Ranks documents by how well they fit a query.
public final class Reranker: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.Reranker

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.Reranker.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// The documents, the best first.
    public func rank(
        _ documents: [String], by query: String, options: RerankOptions = .init()
    ) async throws(PocketBERTError) -> [RankedDocument] {
        let handle = handle
        return try await Runner.run(options.call) {
            let options = PocketBERTMobile.RerankOptions(
                topK: try Int32?(checking: options.topK, "topK"), tooLong: options.longText.mobile,
                maxTokens: try Int32?(checking: options.maximumTokenCount, "maximumTokenCount"), call: $0)
            return try handle.rank(query: query, documents: documents, options: options)
                .map { RankedDocument(index: Int($0.index), score: $0.score) }
        }
    }
}
