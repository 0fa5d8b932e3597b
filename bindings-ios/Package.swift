// swift-tools-version: 6.0
import PackageDescription

// Where the Rust library comes from:
// * Apple's systems: PocketBERT.xcframework. With POCKETBERT_RELEASE set to a version, the released file by URL and
//   checksum; without it, the one that build-xcframework.py has made in `build/`.
// * Linux: a shared library that the linker finds, for tests (`test-linux.sh`).
let release: (url: String, checksum: String)? = nil

#if os(Linux)
    let native = Target.systemLibrary(name: "PocketBERTMobileFFI", path: "Sources/PocketBERTMobileFFI")
#else
    let native =
        if let release {
            Target.binaryTarget(name: "PocketBERTMobileFFI", url: release.url, checksum: release.checksum)
        } else {
            Target.binaryTarget(name: "PocketBERTMobileFFI", path: "build/PocketBERT.xcframework")
        }
#endif

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
