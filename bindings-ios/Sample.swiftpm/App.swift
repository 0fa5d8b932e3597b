import PocketBERT
import SwiftUI

@main
struct SampleApp: App {
    var body: some Scene {
        WindowGroup { AnalyzeView() }
    }
}

/// Says what the heads of the bundle make of a text while it is typed.
struct AnalyzeView: View {
    @State private var text = "Book a table for two in Paris tonight"
    @State private var lines: [String] = []
    @State private var analyzer: Analyzer?
    @State private var problem: String?

    var body: some View {
        NavigationStack {
            Form {
                Section("Text") {
                    TextField("Type something", text: $text, axis: .vertical)
                }
                Section("On this device") {
                    if let problem { Text(problem).foregroundStyle(.red) }
                    ForEach(lines, id: \.self) { Text($0) }
                }
            }
            .navigationTitle("PocketBERT")
        }
        .task { await open() }
        // A new text cancels the analysis of the old one: the run itself ends.
        .task(id: text) { await analyze() }
    }

    private func open() async {
        do {
            guard let url = Bundle.main.url(forResource: "everyday", withExtension: "pbert") else {
                problem = "The app holds no everyday.pbert."
                return
            }
            let analyzer = try Analyzer(model: try await Model.open(bundle: url))
            try await analyzer.prewarm()
            self.analyzer = analyzer
            await analyze()
        } catch {
            problem = error.localizedDescription
        }
    }

    private func analyze() async {
        guard let analyzer else { return }
        do {
            let analysis = try await analyzer.analyze(text)
            lines = analysis.heads.compactMap { head in
                switch head.answer {
                case .labels(let answer): answer.best.map { "\(head.head): \($0.name) \(Int($0.probability * 100)) %" }
                case .entities(let answer):
                    answer.entities.isEmpty
                        ? nil : "\(head.head): " + answer.entities.map { "\($0.text) (\($0.label))" }.joined(separator: ", ")
                case .answers, .embedding: nil
                }
            }
            problem = nil
        } catch PocketBERTError.cancelled {
            // A newer text is on its way.
        } catch {
            problem = error.localizedDescription
        }
    }
}
