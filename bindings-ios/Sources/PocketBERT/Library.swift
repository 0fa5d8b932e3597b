import Foundation
internal import PocketBERTMobile

/// The library itself.
public enum Library {
    /// Its version.
    public static var version: String { (try? libraryVersion()) ?? "" }

    /// Facts for a support ticket as a JSON object: version, system, kernels that this CPU can run. Names no text and
    /// no file.
    public static func diagnostics() throws(PocketBERTError) -> String {
        try PocketBERTError.translating { try diagnosticsJson() }
    }
}
