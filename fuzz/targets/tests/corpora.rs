//! Replays the seeds of every target, and what a fuzzer once found.

use std::collections::BTreeSet;
use std::path::Path;

use weft_fuzz_targets::TARGETS;

#[test]
fn seeds_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let folders: BTreeSet<String> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names, "a folder of seeds for each target, and no other");
    for target in TARGETS {
        let mut count = 0;
        for entry in std::fs::read_dir(corpus.join(target.name)).unwrap() {
            let file = entry.unwrap().path();
            let bytes = std::fs::read(&file).unwrap();
            eprintln!("{}", file.display());
            (target.run)(&bytes);
            count += 1;
        }
        assert!(count > 0, "{} has no seed", target.name);
        // What every target has to stand.
        (target.run)(b"");
        (target.run)(&[0xff; 64]);
    }
}
