import Foundation
internal import PocketBERTMobile

#if canImport(os)
    import os
#endif

/// What the library says while it works: nothing, until it is asked to.
///
/// No level ever logs a text.
public enum Logging {
    /// How much is said.
    public enum Level: String, Sendable, Hashable, CaseIterable {
        /// Nothing: how the library starts.
        case off
        /// What went wrong.
        case error
        /// What may go wrong.
        case warn
        /// What happens rarely, such as opening a model.
        case info
        /// What happens often.
        case debug
        /// Everything.
        case trace
    }

    /// Says `level` and what is more important from now on, to `os_log` with the subsystem `org.pocketbert`.
    ///
    /// Where there is no `os_log`, as on Linux, it goes to standard error.
    public static func setLevel(_ level: Level) throws(PocketBERTError) {
        try setLevel(level) { level, message in
            #if canImport(os)
                let log = Logger(subsystem: "org.pocketbert", category: "library")
                switch level {
                case .error: log.error("\(message, privacy: .public)")
                case .warn: log.warning("\(message, privacy: .public)")
                case .info: log.info("\(message, privacy: .public)")
                default: log.debug("\(message, privacy: .public)")
                }
            #else
                FileHandle.standardError.write(Data("PocketBERT \(level.rawValue): \(message)\n".utf8))
            #endif
        }
    }

    /// The same to a closure of the app's, which is called on any thread and must not call the library.
    public static func setLevel(
        _ level: Level, to sink: @escaping @Sendable (Level, String) -> Void
    ) throws(PocketBERTError) {
        try PocketBERTError.translating {
            try setLogSink(sink: Sink(sink))
            try setLogLevel(level: level.rawValue)
        }
    }
}

private final class Sink: LogSink {
    private let write: @Sendable (Logging.Level, String) -> Void

    init(_ write: @escaping @Sendable (Logging.Level, String) -> Void) { self.write = write }

    func write(level: String, message: String) {
        write(Logging.Level(rawValue: level) ?? .error, message)
    }
}
