//! `seeds TARGET FOLDER`: writes the first inputs of a target.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [target, folder] = &words[..] else {
        eprintln!("usage: seeds TARGET FOLDER");
        std::process::exit(2);
    };
    std::fs::create_dir_all(folder)?;
    for (n, seed) in uota_fuzz::seeds::of(target).iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("seed-{n:02}")), seed)?;
    }
    Ok(())
}
