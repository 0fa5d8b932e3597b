import Foundation
internal import PocketBERTMobile

/// How to summarize.
public struct SummaryOptions: Sendable, Hashable {
    /// How sentences are chosen.
    public enum Centrality: Sendable, Hashable, CaseIterable {
        /// The nearest to the mean of all.
        case centroid
        /// Those that a random walk over similar sentences visits most.
        case lexRank
        /// The first ones: what every summary has to beat.
        case lead

        var mobile: PocketBERTMobile.Centrality {
            switch self {
            case .centroid: .centroid
            case .lexRank: .lexRank
            case .lead: .lead
            }
        }
    }

    /// Sentences to keep.
    public var sentenceCount: Int
    /// How they are chosen.
    public var centrality: Centrality
    /// How the call runs.
    public var call: CallOptions

    /// The most central sentences.
    public init(sentenceCount: Int = 3, centrality: Centrality = .centroid, call: CallOptions = .init()) {
        self.sentenceCount = sentenceCount
        self.centrality = centrality
        self.call = call
    }
}

/// The main sentences of a text, as they stand in it.
public struct Summary: Sendable, Hashable {
    /// A sentence.
    public struct Sentence: Sendable, Hashable {
        /// Its number in the text.
        public let index: Int
        /// How central it is.
        public let score: Float
        /// Where it is.
        public let range: TextRange
        /// What it says: a slice of the text.
        public let text: Substring
    }

    /// In the order of the text.
    public let sentences: [Sentence]
    /// Sentences that the text has.
    public let totalCount: Int
}

/// Chooses the main sentences of a text. It writes none.
public final class Summarizer: LanguageTask {
    public let model: Model
    public let metrics: Metrics
    private let handle: PocketBERTMobile.Summarizer

    public init(model: Model, head: String?) throws(PocketBERTError) {
        let handle = try PocketBERTError.translating {
            try PocketBERTMobile.Summarizer.create(model: model.handle, head: head)
        }
        self.model = model
        self.handle = handle
        metrics = Metrics(handle: handle)
    }

    /// Summarizes one text.
    public func summarize(
        _ text: String, options: SummaryOptions = .init()
    ) async throws(PocketBERTError) -> Summary {
        let handle = handle
        return try await Runner.run(options.call) {
            let summary = try handle.summarize(
                text: text,
                options: .init(
                    sentences: Int32(checking: options.sentenceCount, "sentenceCount"),
                    centrality: options.centrality.mobile, call: $0))
            return Summary(
                sentences: summary.sentences.map { sentence in
                    let range = TextRange(sentence.span, in: text)
                    return .init(
                        index: Int(sentence.index), score: sentence.score, range: range, text: text[range.range])
                },
                totalCount: Int(summary.of))
        }
    }
}
