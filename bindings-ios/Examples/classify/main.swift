// classify BUNDLE TEXT…: the sentiment of each text.
import Foundation
import PocketBERT

guard CommandLine.arguments.count >= 3 else {
    print("usage: classify BUNDLE TEXT...")
    exit(2)
}
let model = try await Model.open(bundle: URL(fileURLWithPath: CommandLine.arguments[1]))
let classifier = try TextClassifier(model: model)
let texts = Array(CommandLine.arguments.dropFirst(2))
for (text, answer) in zip(texts, try await classifier.classify(texts)) {
    let best = answer.best
    print("\(best?.name ?? "none")\t\(best?.probability ?? 0)\t\(text)")
}
