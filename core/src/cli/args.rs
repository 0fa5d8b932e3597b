//! The command line, and the help that teaches it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::kernels::Isa;
use crate::tasks::CallOptions;
use crate::text::Truncation;

/// On-device NLP: text in, int8 DistilBERT answers out, offline.
#[derive(Parser, Debug)]
#[command(
    name = "pocketbert",
    version,
    after_help = "\
Examples:
  pocketbert classify \"what a lovely film\"            labels of the default model
  pocketbert analyze \"book a table in Paris\"          all of its heads at once
  pocketbert inspect models/everyday.pbert            what is inside, and on which kernels it runs
  pocketbert COMMAND --help                           more examples

Exit status: 0 good, 1 a check failed, 2 bad input or usage."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Label texts, with probabilities
    Classify(Classify),
    /// Ask all heads of a model at once: labels, spans, vectors
    Analyze(Analyze),
    /// Find names, slots and the like: labelled spans
    Tag(super::tag::Tag),
    /// Answer a question with a stretch of a text
    Answer(super::answer::Answer),
    /// Pick the main sentences of a text
    Summarize(super::summarize::Summarize),
    /// Make vectors of texts, or tell how near two texts are
    Embed(super::embed::Embed),
    /// Sort documents by how well they fit a query
    Rerank(super::rerank::Rerank),
    /// Suggest tokens for the gaps of a text
    FillMask(super::fill_mask::FillMask),
    /// Choose among labels that you name
    ZeroShot(super::zero_shot::ZeroShot),
    /// Run any head of any model on texts or token ids; JSON lines in, JSON lines out
    Run(Run),
    /// Show what a model is made of and which kernels run it
    Inspect(Inspect),
    /// Show the tokens of a text
    Tokenize(Tokenize),
    /// Measure time and memory
    Bench(Bench),
    /// Check a bundle's hashes, and its answers bit for bit on every kernel of this CPU
    SelfTest(SelfTest),
}

const CLASSIFY_HELP: &str = "\
Examples:
  pocketbert classify \"what a lovely film\"
  pocketbert classify \"book a table for two\" --head intent --top-k 3
  pocketbert classify --file reviews.txt --json > labels.jsonl
  pocketbert classify --file book.txt --long           the whole file is one text, read in windows
  tail -f chat.log | pocketbert classify - --head moderation
  pocketbert classify \"…\" --model my-hub-folder/       a folder with model.onnx and tokenizer.json
  pocketbert classify \"Is it open?\" --pair \"Daily.\"   two texts that the model reads together
  pocketbert classify --file log.txt --metrics m.prom   times, sizes and errors for Prometheus

The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.
Of several texts, one a line, each gets one line, in their order, as soon as it is ready.";

#[derive(clap::Args, Debug)]
#[command(after_help = CLASSIFY_HELP)]
pub struct Classify {
    /// The text; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the model that answers
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Second text of a pair, for heads trained on pairs
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "pairs"])]
    pub pair: Option<String>,
    /// Each line is a pair: two texts with a tab between them
    #[arg(long)]
    pub pairs: bool,
    /// Show this many labels at most [default: 5; all with --json]
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Leave out labels less probable than this (0 to 1)
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// Show these labels only
    #[arg(long, value_name = "LABELS", value_delimiter = ',', conflicts_with = "deny")]
    pub allow: Vec<String>,
    /// Do not show these labels
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Judge every label by itself instead of against the others
    #[arg(long)]
    pub multi_label: bool,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t)]
    pub truncation: Cut,
    #[command(flatten)]
    pub windows: super::window::Windowed,
    /// With --long, how windows become one answer: mean, weighted, max, vote
    #[arg(long, value_name = "M", default_value = "weighted", value_parser = merge, requires = "long")]
    pub merge: crate::tasks::WindowMerge,
    /// One JSON object per text
    #[arg(long)]
    pub json: bool,
    /// At the end, write counts and times to this file: Prometheus text if it ends in .prom, else JSON
    #[arg(long, value_name = "F")]
    pub metrics: Option<PathBuf>,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

const ANALYZE_HELP: &str = "\
Examples:
  pocketbert analyze \"book a table for two in Paris\"
  pocketbert analyze \"what a lovely film\" --heads sentiment,spam --json
  pocketbert analyze \"Ada wrote it in 1843.\" --question \"Who wrote it?\"
  pocketbert analyze --file reviews.txt --json > analyses.jsonl
  pocketbert analyze --file report.txt --long            the whole file is one text, read in windows

The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert. All heads together cost one run of the
encoder. Colours are for terminals only; NO_COLOR=1 turns them off. Of several texts, one a line, each is answered
as soon as it is ready.";

#[derive(clap::Args, Debug)]
#[command(after_help = ANALYZE_HELP)]
pub struct Analyze {
    /// The text; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Ask these heads only
    #[arg(long, value_name = "H,…", value_delimiter = ',')]
    pub heads: Vec<String>,
    /// A question about the text, for heads that answer questions
    #[arg(long, value_name = "TEXT")]
    pub question: Option<String>,
    /// Show this many labels per head at most [default: 3; all with --json]
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t, conflicts_with = "long")]
    pub truncation: Cut,
    #[command(flatten)]
    pub windows: super::window::Windowed,
    /// With --long, how windows become one answer: mean, weighted, max, vote (labels only)
    #[arg(long, value_name = "M", default_value = "weighted", value_parser = merge, requires = "long")]
    pub merge: crate::tasks::WindowMerge,
    /// One JSON object per text
    #[arg(long)]
    pub json: bool,
    /// At the end, write counts and times to this file: Prometheus text if it ends in .prom, else JSON
    #[arg(long, value_name = "F")]
    pub metrics: Option<PathBuf>,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

const RUN_HELP: &str = "\
Input lines, one JSON object each:
  {\"text\": \"…\"}    {\"text\": \"…\", \"pair\": \"…\"}    {\"ids\": [[101, 2023, 102]], \"mask\": [[1, 1, 1]]}
Output lines, one per input line:
  {\"ids\": [[…]], \"outputs\": {\"logits\": {\"shape\": [1, 2], \"data\": […]}}}

Examples:
  echo '{\"text\": \"what a lovely film\"}' | pocketbert run models/everyday.pbert
  pocketbert run model_quantized.onnx --input pairs.jsonl --threads 2 --batch 16 > answers.jsonl
  pocketbert run hub-folder/ --reference-semantics     ONNX's own scales, for comparisons

`shape` is [batch, sequence, channels] for values per token and [batch, channels] for values per text; rows
that are shorter than the longest, and masked tokens at a row's end, give zeros. An optional `types` matrix
gives token types. Numbers read back as the very same f32. A text that was cut adds \"truncated\": true.";

#[derive(clap::Args, Debug)]
#[command(after_help = RUN_HELP)]
pub struct Run {
    /// Bundle, .onnx file or model folder
    pub model: PathBuf,
    /// Read input lines from this file instead of standard input
    #[arg(long, short, value_name = "F.jsonl")]
    pub input: Option<PathBuf>,
    /// Compute this head (of a bundle) or output only
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Pack this many input lines into one run; changes no answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub batch: usize,
    /// For dynamically quantized ONNX models: one scale per tensor as ONNX says, not one per token
    #[arg(long)]
    pub reference_semantics: bool,
    /// Do not put special tokens around texts
    #[arg(long)]
    pub no_special_tokens: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

const INSPECT_HELP: &str = "\
Examples:
  pocketbert inspect models/everyday.pbert
  pocketbert inspect model_quantized.onnx --json | jq .bit_exact

The census is counted by the kernels during a real run on a short built-in text. `bit_exact: yes` means that
every operator is PocketBERT's own, so that answers are the same bits on every CPU.";

#[derive(clap::Args, Debug)]
#[command(after_help = INSPECT_HELP)]
pub struct Inspect {
    /// Bundle, .onnx file or model folder
    pub model: PathBuf,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// For dynamically quantized ONNX models: one scale per tensor as ONNX says
    #[arg(long)]
    pub reference_semantics: bool,
    /// Kernels to run on: generic, avx2, avxvnni, avx512vnni, armv7-neon, neon, neon-dotprod, neon-i8mm
    /// [default: the fastest here]
    #[arg(long, value_name = "K", value_parser = kernel)]
    pub kernel: Option<Isa>,
    #[command(flatten)]
    pub open: Open,
}

const TOKENIZE_HELP: &str = "\
Examples:
  pocketbert tokenize models/everyday.pbert \"Zürich is lovely\"
  pocketbert tokenize models/everyday.pbert --max-length 64 --truncation head-tail < letter.txt
  pocketbert tokenize hub-folder/ \"Who wrote it?\" --pair \"It was written by Ada.\" --json

Without TEXT, one text a line is read from standard input.";

#[derive(clap::Args, Debug)]
#[command(after_help = TOKENIZE_HELP)]
pub struct Tokenize {
    /// Bundle, .onnx file, model folder or tokenizer.json
    pub model: PathBuf,
    /// The text; `-`, or none, for one text a line from standard input
    pub text: Option<String>,
    /// Second text of a pair
    #[arg(long)]
    pub pair: Option<String>,
    /// Most tokens, special tokens included [default: the model's]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_length: Option<usize>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t)]
    pub truncation: Cut,
    /// Do not put special tokens around the text
    #[arg(long)]
    pub no_special_tokens: bool,
    /// One JSON object per text
    #[arg(long)]
    pub json: bool,
}

const BENCH_HELP: &str = "\
Examples:
  pocketbert bench models/everyday.pbert --lengths 16,64,128
  pocketbert bench models/everyday.pbert --lengths 64 --gate \"p95<=30ms, rss<=90MB, open<=60ms\"
  pocketbert bench models/everyday.pbert --file texts.txt     CPU seconds per 1,000 texts
  pocketbert bench models/everyday.pbert --profile            time per operator and layer
  printf '1x64 20\\n8x16 20\\n' | pocketbert bench models/everyday.pbert --interactive

Gate metrics: p50, p95, p99, mean (wall, of the slowest length; `p95@64` of one length), cpu50, cpu95, cpu99
(CPU), open, open_cpu (opening the model), first, first_cpu (opening and the first answer), rss, dirty (memory),
per1000 (CPU for 1,000 texts of --file). Comparisons: <=, <. Units: us, ms, s; KB, MB (1,000,000 bytes), KiB, MiB.
A bundle is measured on its default head unless --head names another or says `all`.";

#[derive(clap::Args, Debug)]
#[command(after_help = BENCH_HELP)]
pub struct Bench {
    /// Bundle, .onnx file or model folder
    pub model: PathBuf,
    /// Tokens per sequence
    #[arg(long, value_name = "L,…", value_delimiter = ',', default_value = "16,64,128", value_parser = positive)]
    pub lengths: Vec<usize>,
    /// Sequences per run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub batch: usize,
    /// Head (of a bundle) or output to compute, or `all`
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Runs per length; fewer if they take more than --seconds
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    pub repeats: usize,
    /// Most seconds per length, after at least 10 runs
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub seconds: f64,
    /// Seed of the token ids
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Fail with status 1 unless all of these hold, such as "p95<=30ms, rss<=90MB"
    #[arg(long, value_name = "RULES")]
    pub gate: Option<String>,
    /// Time per operator and layer
    #[arg(long, conflicts_with_all = ["interactive", "gate"])]
    pub profile: bool,
    /// Compute every row of the last layer, even if the head reads one: shows what skipping them saves
    #[arg(long)]
    pub all_rows: bool,
    /// Print load figures, then answer lines `<batch>x<length> <repeats>`, or `peak`, from standard input
    #[arg(long, conflicts_with_all = ["gate", "file"])]
    pub interactive: bool,
    /// Also classify every line of this file: CPU seconds per 1,000 texts
    #[arg(long, value_name = "F")]
    pub file: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// For dynamically quantized ONNX models: one scale per tensor as ONNX says
    #[arg(long)]
    pub reference_semantics: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

const SELF_TEST_HELP: &str = "\
Examples:
  pocketbert self-test models/everyday.pbert && echo fit to ship

Checks the hash of every entry, then runs the test cases that the bundle carries on every kernel of this CPU
and compares token ids and the bits of every value. A model without test cases fails: nothing was checked.";

#[derive(clap::Args, Debug)]
#[command(after_help = SELF_TEST_HELP)]
pub struct SelfTest {
    /// Bundle
    pub model: PathBuf,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// How runs are done.
#[derive(clap::Args, Debug)]
pub struct Engine {
    /// Kernels: generic, avx2, avxvnni, avx512vnni, armv7-neon, neon, neon-dotprod, neon-i8mm
    /// [default: the fastest here]
    #[arg(long, value_name = "K", value_parser = kernel)]
    pub kernel: Option<Isa>,
    /// Threads per run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = threads)]
    pub threads: usize,
}

impl Engine {
    /// The options of a task's call.
    pub fn call(&self) -> CallOptions {
        CallOptions { threads: self.threads, kernel: self.kernel, ..CallOptions::default() }
    }
}

/// How the model is opened.
#[derive(clap::Args, Debug)]
pub struct Open {
    /// Do not check the weights' hash (for quick starts of a bundle that was checked before)
    #[arg(long)]
    pub defer_hash: bool,
    /// Read the model into memory instead of mapping the file
    #[arg(long)]
    pub copy: bool,
}

/// [`Truncation`] as a word.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Cut {
    /// The start
    #[default]
    Head,
    /// The end
    Tail,
    /// Both ends
    HeadTail,
    /// Nothing: too long a text is an error
    Refuse,
}

impl From<Cut> for Truncation {
    fn from(c: Cut) -> Truncation {
        match c {
            Cut::Head => Truncation::Head,
            Cut::Tail => Truncation::Tail,
            Cut::HeadTail => Truncation::HeadTail,
            Cut::Refuse => Truncation::Refuse,
        }
    }
}

pub(super) fn merge(s: &str) -> Result<crate::tasks::WindowMerge, String> {
    super::window::by_name(s, &crate::tasks::WindowMerge::ALL)
}

fn kernel(s: &str) -> Result<Isa, String> {
    let isa = Isa::parse(s).map_err(|e| e.to_string())?;
    if !isa.is_available() {
        let here: Vec<_> = Isa::available().iter().map(|i| format!("`{i}`")).collect();
        return Err(format!("this CPU cannot run kernel `{isa}`: it has {}", here.join(", ")));
    }
    Ok(isa)
}

pub(super) fn positive(s: &str) -> Result<usize, String> {
    match s.parse::<usize>() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) if n > 1 << 20 => Err("must be at most 1048576".into()),
        Ok(n) => Ok(n),
        Err(e) => Err(e.to_string()),
    }
}

fn threads(s: &str) -> Result<usize, String> {
    match positive(s)? {
        n if n > 256 => Err("must be at most 256".into()),
        n => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
