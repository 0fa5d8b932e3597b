// swift-tools-version: 6.0
// An app package: open it in Xcode 16 or Swift Playgrounds. Not built here: neither runs on Linux.
import AppleProductTypes
import PackageDescription

let package = Package(
    name: "PocketBERT Sample",
    platforms: [.iOS("16.0")],
    products: [
        .iOSApplication(
            name: "PocketBERT Sample",
            targets: ["App"],
            bundleIdentifier: "org.pocketbert.sample",
            teamIdentifier: "",
            displayVersion: "1.0",
            bundleVersion: "1",
            supportedDeviceFamilies: [.phone, .pad],
            supportedInterfaceOrientations: [.portrait, .landscapeLeft, .landscapeRight]
        )
    ],
    dependencies: [.package(path: "..")],
    targets: [
        .executableTarget(
            name: "App",
            dependencies: [.product(name: "PocketBERT", package: "bindings-ios")],
            path: ".",
            // Copy models/everyday.pbert here first.
            resources: [.copy("everyday.pbert")]
        )
    ]
)
