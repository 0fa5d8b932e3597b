//! Files and standard input: every command that answers texts one by one reads ahead, packs what it read, and
//! answers in order as if each text were alone.

use super::*;

/// The commands, with what they need to know of the tiny model.
const COMMANDS: [&[&str]; 7] = [
    &["classify"],
    &["tag"],
    &["tag", "--words"],
    &["embed"],
    &["fill-mask", "--head", "fill_mask"],
    &["zero-shot", "--labels", "music,weather"],
    &["analyze"],
];

fn with<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [command, &["--model", MODEL, "--json"], more].concat()
}

#[test]
fn a_file_and_standard_input_have_the_answers_of_single_texts() {
    let texts: Vec<String> = (0..70)
        .map(|i| {
            format!("{} [MASK] Zürich 😀 {}", "play some jazz".repeat(i % 5), "will it rain ".repeat(i % 7))
        })
        .collect();
    let path = temp("texts.txt", (texts.join("\r\n") + "\n").as_bytes());
    for command in COMMANDS {
        let file = good(&with(command, &["--file", str(&path)]), "");
        assert_eq!(file.lines().count(), texts.len(), "{command:?}");
        assert_eq!(good(&with(command, &["-"]), texts.join("\n")), file, "{command:?}");
        for i in [0, 1, 33, 69] {
            let one = good(&with(command, &[&texts[i]]), "");
            assert_eq!(Some(one.trim_end()), file.lines().nth(i), "{command:?}, text {i}");
        }
    }
}

#[test]
fn nobody_has_to_write_more_to_get_an_answer() {
    let run = [&["run", MODEL][..]];
    let all: Vec<Vec<&str>> =
        run.iter().map(|r| r.to_vec()).chain(COMMANDS.iter().map(|c| with(c, &["-"]))).collect();
    for args in all {
        let mut child = start(&args);
        let mut stdin = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for text in ["one [MASK]", "two two [MASK]", "three [MASK]"] {
            // The next line is written only when the last one is answered, so a program that waits hangs.
            writeln!(stdin, "{}", serde_json::json!({ "text": text })).unwrap();
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(json(&line).is_object());
        }
        drop(stdin);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_bad_line_ends_with_2_after_the_answers_before_it() {
    let broken: Vec<u8> =
        [&b"good [MASK]\nalso good [MASK]\n"[..], b"br\xffken [MASK]\n", b"never [MASK]\n"].concat();
    for command in COMMANDS {
        let d = pocketbert(&with(command, &["-"]), &broken);
        assert_eq!((d.code, d.out.lines().count()), (2, 2), "{command:?}: {}", d.err);
        assert!(d.err.contains("standard input, line 3") && d.err.contains("byte 3"), "{}", d.err);
    }
    // An error of the model's side belongs to its line as well.
    let d = pocketbert(&with(COMMANDS[4], &["-"]), "a [MASK]\nno gap\nb [MASK]\n");
    assert_eq!((d.code, d.out.lines().count()), (2, 1), "{}", d.err);
    assert!(d.err.contains("line 2") && d.err.contains("no mask"), "{}", d.err);
    let d = pocketbert(&with(&["classify", "--pairs"], &["-"]), "a\tb\nc\n");
    assert_eq!((d.code, d.out.lines().count()), (2, 1), "{}", d.err);
    assert!(d.err.contains("line 2") && d.err.contains("tab"), "{}", d.err);
}

#[test]
fn nothing_in_is_nothing_out() {
    for command in COMMANDS {
        assert_eq!(good(&with(command, &["-"]), ""), "", "{command:?}");
    }
    assert_eq!(good(&with(&["rerank", "query"], &["-"]), ""), "");
}

#[test]
fn every_command_reads_a_long_file() {
    let path = temp("long.txt", ("play some jazz in Paris ".repeat(600) + "[MASK]").as_bytes());
    let long = ["--file", str(&path), "--long", "--window", "128", "--stride", "100"];
    for command in COMMANDS {
        let out = good(&with(command, &long), "");
        assert_eq!(out.lines().count(), 1, "{command:?}");
        let answer = json(&out);
        assert_ne!(answer["truncated"], Value::Bool(true), "{command:?}");
        if let Some(tokens) = answer["tokens"].as_u64() {
            assert!(tokens > 3000, "{command:?}");
        }
    }
    let heads = json(&good(&with(COMMANDS[6], &long), ""))["heads"].clone();
    let alone = json(&good(&with(COMMANDS[0], &[&long[..], &["--head", "spam"]].concat()), ""));
    assert_eq!(heads["spam"], alone);
    assert!(heads["slots"]["entities"].as_array().unwrap().len() >= 600);
    let picture = good(&[&["analyze", "--model", MODEL][..], &long].concat(), "");
    assert!(picture.starts_with("play some jazz"), "{picture:.200}");
    let masks = json(&good(&with(COMMANDS[4], &long), ""))["masks"].clone();
    assert_eq!(masks[0]["start"], Value::from(600 * 24));
    let vote = good(&with(COMMANDS[5], &[&long[..], &["--merge", "vote"]].concat()), "");
    let share = json(&vote)["labels"][0]["probability"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&share), "{share}");
    let d = pocketbert(&with(COMMANDS[3], &[&long[..], &["--merge", "vote"]].concat()), "");
    assert!(d.code == 2 && d.err.contains("cannot vote"), "{}", d.err);
    let d = pocketbert(
        &with(COMMANDS[5], &["--file", str(&path), "--long", "--window", "16", "--stride", "15"]),
        "",
    );
    assert!(d.code == 2 && d.err.contains("skip"), "{}", d.err);
}
