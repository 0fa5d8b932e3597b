import Foundation

#if canImport(UIKit) && !os(watchOS)
    import UIKit
#endif

/// Calls back when the system warns of low memory, for as long as it lives.
final class MemoryWarnings: Sendable {
    #if canImport(UIKit) && !os(watchOS)
        private nonisolated(unsafe) let observer: any NSObjectProtocol

        init(_ trim: @escaping @Sendable () -> Void) {
            // By its name: the constant is isolated to the main actor in some versions of the SDK.
            let name = Notification.Name("UIApplicationDidReceiveMemoryWarningNotification")
            observer = NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { _ in trim() }
        }

        deinit {
            NotificationCenter.default.removeObserver(observer)
        }
    #elseif canImport(Darwin)
        private nonisolated(unsafe) let source: any DispatchSourceMemoryPressure

        init(_ trim: @escaping @Sendable () -> Void) {
            source = DispatchSource.makeMemoryPressureSource(eventMask: [.warning, .critical])
            source.setEventHandler(handler: trim)
            source.activate()
        }

        deinit {
            source.cancel()
        }
    #else
        init(_ trim: @escaping @Sendable () -> Void) {}
    #endif
}
