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

    func mobile(_ call: PocketBERTMobile.CallOptions) throws(PocketBERTError) -> PocketBERTMobile.RerankOptions {
        .init(
            topK: try Int32?(checking: topK, "topK"), tooLong: longText.mobile,
            maxTokens: try Int32?(checking: maximumTokenCount, "maximumTokenCount"), call: call)
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
            try handle.rank(query: query, documents: documents, options: options.mobile($0))
                .map { RankedDocument(index: Int($0.index), score: $0.score) }
        }
    }

    /// Documents of any length, the best first: they are read in windows, whose scores become one. By default a
    /// document is as good as its best window.
    public func rank(
        longDocuments documents: [String], by query: String, windows: Windowing = .init(merge: .max),
        options: RerankOptions = .init(), onProgress: ProgressHandler? = nil
    ) async throws(PocketBERTError) -> [RankedDocument] {
        let handle = handle
        return try await Runner.run(options.call) {
            try handle.rankLong(
                query: query, documents: documents, options: options.mobile($0), windows: windows.mobile(onProgress)
            )
            .map { RankedDocument(index: Int($0.index), score: $0.score) }
        }
    }
}
