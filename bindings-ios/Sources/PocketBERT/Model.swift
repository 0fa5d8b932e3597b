import Foundation
internal import PocketBERTMobile

/// How a model is opened.
public struct OpenOptions: Sendable, Hashable {
    /// Read the file into memory instead of mapping it. Mapped pages are given back under memory pressure and read
    /// again, so mapping is the better choice unless the file may be overwritten in place.
    public var copiesIntoMemory: Bool
    /// Leave the hash of the weights unchecked: opens in about a third of the time. Check it later with
    /// ``Model/verifyWeights()``.
    public var defersWeightsHash: Bool
    /// Open at the first call or ``Model/load()`` instead of now.
    public var isDeferred: Bool

    /// Maps the file, checks all hashes, opens now.
    public init(copiesIntoMemory: Bool = false, defersWeightsHash: Bool = false, isDeferred: Bool = false) {
        self.copiesIntoMemory = copiesIntoMemory
        self.defersWeightsHash = defersWeightsHash
        self.isDeferred = isDeferred
    }

    var mobile: PocketBERTMobile.OpenOptions {
        .init(copyIntoMemory: copiesIntoMemory, deferWeightsHash: defersWeightsHash, defer: isDeferred)
    }
}

/// How far a model or a task is from answering at full speed.
public enum LoadState: Sendable, Hashable, CaseIterable {
    /// Not opened yet; the first call will.
    case unloaded
    /// A thread is opening it.
    case loading
    /// Open. The first call will still be slower than the next.
    case loaded
    /// It has answered once.
    case prewarmed

    init(_ state: ModelState) {
        self =
            switch state {
            case .unloaded: .unloaded
            case .loading: .loading
            case .loaded: .loaded
            case .prewarmed: .prewarmed
            }
    }
}

/// One thing that a model can do.
public struct Head: Sendable, Hashable, Identifiable {
    /// Its name: what tasks are opened with.
    public let name: String
    /// What it does, such as `text-classification`.
    public let task: String
    /// Its labels by index; empty where it has none.
    public let labels: [String]
    /// What it does, for people.
    public let summary: String

    /// The same as ``name``.
    public var id: String { name }
}

/// Facts of an open model.
public struct ModelInfo: Sendable, Hashable {
    /// Its name.
    public let name: String
    /// Its version.
    public let version: String
    /// Its licence; empty where it names none.
    public let license: String
    /// What it is, for people.
    public let summary: String
    /// 64 hexadecimal digits that name it: two models with the same one give the same answers.
    public let fingerprint: String
    /// The most tokens of one text.
    public let maximumTokenCount: Int
    /// Tokens that it knows.
    public let vocabularyCount: Int
    /// Bytes of the bundle; 0 for other files.
    public let byteCount: Int
    /// What it can do; empty for other files than bundles.
    public let heads: [Head]
}

/// What a self-test found.
public struct SelfTestResult: Sendable, Hashable {
    /// Every case had the recorded bits on every kernel of this CPU.
    public let passed: Bool
    /// Cases in the bundle.
    public let caseCount: Int
    /// Values that were compared, over all kernels.
    public let valueCount: Int
    /// Kernels that this CPU can run.
    public let kernels: [String]
    /// What differed, a sentence each; at most ten.
    public let failures: [String]
}

/// A token, as the model reads it.
public struct Token: Sendable, Hashable {
    /// Its number in the vocabulary.
    public let id: Int
    /// As the vocabulary spells it.
    public let text: String
    /// Where it is; empty for a token that the tokenizer adds.
    public let range: TextRange
    /// The tokenizer added it.
    public let isSpecial: Bool
}

/// A text as the model reads it.
public struct Tokenization: Sendable, Hashable {
    /// The tokens in order, special ones included.
    public let tokens: [Token]
    /// How many of them the vocabulary lacks.
    public let unknownCount: Int
    /// The text was cut.
    public let isTruncated: Bool
}

/// A model that several tasks share: its weights are in memory once.
///
/// ```swift
/// let model = try Model(bundle: url)
/// let sentiment = try TextClassifier(model: model, head: "sentiment")
/// let names = try TokenClassifier(model: model, head: "entities")
/// ```
///
/// ## Sharing
/// Open a model once and keep it. It is immutable and `Sendable`; any number of tasks on any number of threads may use
/// it at once.
///
/// ## Closing
/// There is nothing to close. The file is unmapped when the last task that uses the model is gone and its last call
/// has ended.
///
/// ## Memory
/// Weights are mapped, not copied. On iOS the model gives its scratch memory back when the system warns of low memory;
/// elsewhere call ``trimMemory()``.
public final class Model: Sendable {
    let handle: PocketBERTMobile.Model
    private let memoryWarnings: MemoryWarnings

    init(_ handle: PocketBERTMobile.Model) {
        self.handle = handle
        memoryWarnings = MemoryWarnings { [weak handle] in try? handle?.trimMemory() }
    }

    /// Opens a `.pbert` bundle, an `.onnx` file, or a folder with one.
    ///
    /// Opening reads the whole file once to check its hash, some 60 milliseconds for 70 MB on a desktop CPU: from the
    /// main thread use ``open(bundle:options:)``.
    public convenience init(bundle url: URL, options: OpenOptions = .init()) throws(PocketBERTError) {
        guard url.isFileURL else {
            throw .invalidArgument("`\(url.scheme ?? "")` is no file: nothing is ever fetched from a network")
        }
        let path = url.path
        self.init(
            try PocketBERTError.translating { try PocketBERTMobile.Model.fromPath(path: path, options: options.mobile) }
        )
    }

    /// Opens a bundle that is in memory.
    public convenience init(data: Data, options: OpenOptions = .init()) throws(PocketBERTError) {
        self.init(
            try PocketBERTError.translating { try PocketBERTMobile.Model.fromBytes(bytes: data, options: options.mobile) }
        )
    }

    /// Opens `length` bytes at `offset` of an open file: a bundle that lies inside another file, mapped in place.
    ///
    /// The descriptor is duplicated: the caller keeps its own and may close it when this returns.
    public convenience init(
        fileDescriptor: Int32, offset: Int64, length: Int64, options: OpenOptions = .init()
    ) throws(PocketBERTError) {
        self.init(
            try PocketBERTError.translating {
                try PocketBERTMobile.Model.fromDescriptor(
                    fd: fileDescriptor, offset: offset, length: length, options: options.mobile)
            })
    }

    /// Opens a bundle on a background thread.
    public static func open(bundle url: URL, options: OpenOptions = .init()) async throws(PocketBERTError) -> Model {
        try await Runner.run { try Model(bundle: url, options: options) }
    }

    /// Opens the model if that was deferred.
    public func load() async throws(PocketBERTError) {
        let handle = handle
        try await Runner.run { try handle.load() }
    }

    /// How far it is.
    public var state: LoadState { (try? handle.state()).map(LoadState.init) ?? .unloaded }

    /// Its facts; opens it if that was deferred.
    public func info() throws(PocketBERTError) -> ModelInfo {
        let info = try PocketBERTError.translating { try handle.info() }
        return ModelInfo(
            name: info.name, version: info.version, license: info.license, summary: info.description,
            fingerprint: info.fingerprint, maximumTokenCount: Int(info.maxLength),
            vocabularyCount: Int(info.vocabulary), byteCount: Int(info.bytes),
            heads: info.heads.map { Head(name: $0.name, task: $0.task, labels: $0.labels, summary: $0.description) })
    }

    /// Checks the hash of the weights, where opening left it out.
    public func verifyWeights() async throws(PocketBERTError) {
        let handle = handle
        try await Runner.run { try handle.verifyWeights() }
    }

    /// Runs the bundle's own test cases on every kernel of this CPU: proof that the answers here have the bits that were
    /// validated.
    public func selfTest() async throws(PocketBERTError) -> SelfTestResult {
        let handle = handle
        return try await Runner.run {
            let test = try handle.selfTest()
            return SelfTestResult(
                passed: test.passed, caseCount: Int(test.cases), valueCount: Int(test.values), kernels: test.kernels,
                failures: test.failures)
        }
    }

    /// The tokens of a text.
    public func tokenize(
        _ text: String, longText: LongTextPolicy = .keepStart, maximumTokenCount: Int? = nil
    ) throws(PocketBERTError) -> Tokenization {
        let most = try Int32?(checking: maximumTokenCount, "maximumTokenCount")
        let found = try PocketBERTError.translating {
            try handle.tokenize(text: text, tooLong: longText.mobile, maxTokens: most)
        }
        return Tokenization(
            tokens: found.tokens.map {
                Token(id: Int($0.id), text: $0.text, range: TextRange($0.span, in: text), isSpecial: $0.special)
            },
            unknownCount: Int(found.unknown), isTruncated: found.truncated)
    }

    /// Gives back the scratch memory that idle runs keep for the next one. Harmless at any time.
    public func trimMemory() {
        try? handle.trimMemory()
    }
}
