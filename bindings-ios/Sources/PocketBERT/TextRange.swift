import Foundation
internal import PocketBERTMobile

/// Where something is in a text, in every unit that an app may need.
public struct TextRange: Sendable, Hashable {
    /// In the `String` that was given. Its bounds lie on Unicode scalars, so it may cut a character that is made of
    /// several, as a letter and its combining mark are.
    public let range: Range<String.Index>
    /// In UTF-16 code units: what `NSRange` and `NSAttributedString` count.
    public let utf16: Range<Int>
    /// In bytes of the UTF-8 form.
    public let utf8: Range<Int>

    /// For `NSAttributedString`, `NSRegularExpression` and UIKit.
    public var nsRange: NSRange { NSRange(location: utf16.lowerBound, length: utf16.count) }

    init(_ span: TextSpan, in text: String) {
        let bytes = Int(span.byteStart)..<Int(max(span.byteStart, span.byteEnd))
        let view = text.utf8
        let start = view.index(view.startIndex, offsetBy: bytes.lowerBound, limitedBy: view.endIndex) ?? view.endIndex
        let end = view.index(start, offsetBy: bytes.count, limitedBy: view.endIndex) ?? view.endIndex
        range = start..<end
        utf16 = Int(span.utf16Start)..<Int(max(span.utf16Start, span.utf16End))
        utf8 = bytes
    }
}
