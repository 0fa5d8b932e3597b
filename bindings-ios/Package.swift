// swift-tools-version: 6.0
import PackageDescription

// Where the Rust library comes from:
// * Apple's systems: the XCFramework of a release by URL and checksum, where `release` names one; otherwise the one that
//   build-xcframework.py has made.
// * Linux: a shared library that the linker finds, for tests (test-linux.sh). POCKETBERT_XCFRAMEWORK=1 takes the
//   XCFramework there, too, to see that SwiftPM reads it (test-package.sh).
let release: (url: String, checksum: String)? = nil

#if os(Linux)
    let takesFramework = Context.environment["POCKETBERT_XCFRAMEWORK"] == "1"
#else
    let takesFramework = true
#endif

let native: Target =
    if let release, takesFramework {
        .binaryTarget(name: "PocketBERTMobileFFI", url: release.url, checksum: release.checksum)
    } else if takesFramework {
        .binaryTarget(name: "PocketBERTMobileFFI", path: "build/PocketBERT.xcframework")
    } else {
        .systemLibrary(name: "PocketBERTMobileFFI", path: "Sources/PocketBERTMobileFFI")
    }

let package = Package(
    name: "PocketBERT",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "PocketBERT", targets: ["PocketBERT"])],
    targets: [
        native,
        // Written by uniffi; no API.
        .target(name: "PocketBERTMobile", dependencies: ["PocketBERTMobileFFI"]),
        .target(
            name: "PocketBERT",
            dependencies: ["PocketBERTMobile"],
            // SwiftPM drops the privacy manifest of a static XCFramework, so it is a resource of this target.
            resources: [.copy("PrivacyInfo.xcprivacy")]
        ),
        .executableTarget(name: "classify", dependencies: ["PocketBERT"], path: "Examples/classify"),
        .testTarget(name: "PocketBERTTests", dependencies: ["PocketBERT"]),
    ],
    swiftLanguageModes: [.v6]
)
