import Foundation
internal import PocketBERTMobile

/// The numbers of a task: how long calls took, how long texts were, how sure answers were. Never a text.
///
/// Nothing leaves the device: an app reads a snapshot when it wants one.
public struct Metrics: Sendable {
    let handle: any TaskHandle

    /// Counters and histograms as a JSON array, an object per model version and task.
    public func json() throws(PocketBERTError) -> String {
        try PocketBERTError.translating { try handle.metricsJson() }
    }

    /// The same in the Prometheus text format.
    public func prometheus() throws(PocketBERTError) -> String {
        try PocketBERTError.translating { try handle.metricsPrometheus() }
    }

    /// Counts from now on, or stops counting. Answers less sure than `lowConfidence` count as such.
    public func configure(isEnabled: Bool, lowConfidence: Float? = nil) throws(PocketBERTError) {
        try PocketBERTError.translating {
            try handle.configureMetrics(enabled: isEnabled, lowConfidence: lowConfidence)
        }
    }

    /// Compares what comes in with the baseline that the bundle carries from now on: `window` texts at a time.
    ///
    /// - Returns: `false` if the bundle has no baseline.
    public func watchDrift(window: Int? = nil, threshold: Double? = nil) throws(PocketBERTError) -> Bool {
        try PocketBERTError.translating {
            try handle.watchDrift(window: window.map(Int64.init), threshold: threshold)
        }
    }

    /// The latest window that was compared; `nil` before the first.
    public func drift() throws(PocketBERTError) -> Drift? {
        try PocketBERTError.translating { try handle.drift() }.map(Drift.init)
    }
}

/// What a window of texts looked like beside the bundle's baseline.
public struct Drift: Sendable, Hashable {
    /// One thing that is compared.
    public struct Axis: Sendable, Hashable {
        /// `token_length`, `unknown_rate`, `confidence` or `label_mix`.
        public let name: String
        /// Population stability index.
        public let populationStabilityIndex: Double
        /// Jensen-Shannon divergence in bits.
        public let jensenShannonDivergence: Double
        /// The index above which it has drifted.
        public let limit: Double
        /// Whether it has.
        public let hasDrifted: Bool
    }

    /// Number of the window, from 1.
    public let window: Int
    /// Texts in it.
    public let textCount: Int
    /// The largest population stability index.
    public let score: Double
    /// Whether any axis has drifted.
    public let hasDrifted: Bool
    /// The axes.
    public let axes: [Axis]

    init(_ drift: PocketBERTMobile.Drift) {
        window = Int(drift.window)
        textCount = Int(drift.texts)
        score = drift.score
        hasDrifted = drift.drifted
        axes = drift.axes.map {
            Axis(
                name: $0.name, populationStabilityIndex: $0.psi, jensenShannonDivergence: $0.js, limit: $0.limit,
                hasDrifted: $0.drifted)
        }
    }
}

/// What the library's objects for tasks have in common.
protocol TaskHandle: AnyObject, Sendable {
    func load() throws
    func prewarm() throws
    func state() throws -> ModelState
    func metricsJson() throws -> String
    func metricsPrometheus() throws -> String
    func configureMetrics(enabled: Bool, lowConfidence: Float?) throws
    func watchDrift(window: Int64?, threshold: Double?) throws -> Bool
    func drift() throws -> PocketBERTMobile.Drift?
}

extension PocketBERTMobile.TextClassifier: TaskHandle {}
extension PocketBERTMobile.TokenClassifier: TaskHandle {}
extension PocketBERTMobile.QuestionAnswerer: TaskHandle {}
extension PocketBERTMobile.Summarizer: TaskHandle {}
extension PocketBERTMobile.TextEmbedder: TaskHandle {}
extension PocketBERTMobile.Reranker: TaskHandle {}
extension PocketBERTMobile.MaskFiller: TaskHandle {}
extension PocketBERTMobile.ZeroShotClassifier: TaskHandle {}
extension PocketBERTMobile.Analyzer: TaskHandle {}
