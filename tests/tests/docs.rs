//! Every error leads to a section of the documentation that exists and knows it.
#![allow(missing_docs)]

use ota_proto::session::{BootError, Cause, CheckError, DownloadError, Refusal};
use otaapp::host::Topic;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Anchors of a page, as they are made of its headings.
fn anchors(page: &str) -> Vec<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            text.chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn each_link_of_an_error_has_a_section() {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let anchors = anchors(&page);
    for topic in Topic::ALL {
        assert_eq!(
            topic.to_string(),
            format!("docs/troubleshooting.md#{}", topic.anchor())
        );
        assert!(anchors.iter().any(|a| a == topic.anchor()), "{topic}");
    }
}

#[test]
fn each_failure_is_explained_in_the_section_it_points_to() {
    use ota_proto::http::HttpError as H;
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let section = |topic: Topic| {
        page.split("\n## ")
            .find(|s| {
                anchors(&format!("# {}", s.lines().next().unwrap_or("")))[0] == topic.anchor()
            })
            .unwrap()
    };
    let refusals = [
        Refusal::Module,
        Refusal::Diff,
        Refusal::NotNewer,
        Refusal::TooLarge,
        Refusal::Unsigned,
        Refusal::BadSignature,
        Refusal::NoTls,
        Refusal::NotAllowed,
    ];
    let downloads = [
        DownloadError::Reset,
        DownloadError::TimedOut,
        DownloadError::Tls,
        DownloadError::NoTls,
        DownloadError::Http(H::Expired(403)),
        DownloadError::Http(H::Unavailable(503)),
        DownloadError::Http(H::Status(400)),
        DownloadError::Http(H::RangeRefused),
        DownloadError::Http(H::Multipart),
        DownloadError::Http(H::ContentEncoding),
        DownloadError::Http(H::Changed),
        DownloadError::TooManyRedirects,
        DownloadError::ResumeLost,
        DownloadError::Flash,
        DownloadError::Decode,
        DownloadError::WrongBase,
    ];
    let checks = [
        CheckError::Digest,
        CheckError::Signature,
        CheckError::Unsigned,
        CheckError::Trailer,
        CheckError::Descriptor,
        CheckError::Version,
        CheckError::Size,
        CheckError::Patch,
        CheckError::Floor,
        CheckError::Flash,
    ];
    let boots = [
        BootError::Reverted,
        BootError::Refused,
        BootError::Patch,
        BootError::Version,
        BootError::Unable,
    ];
    let causes = (refusals.into_iter().map(Cause::Refused))
        .chain(downloads.into_iter().map(Cause::Download))
        .chain(checks.into_iter().map(Cause::Check))
        .chain(boots.into_iter().map(|b| Cause::Boot(b, 0)));
    for cause in causes {
        let (text, topic) = (cause.to_string(), Topic::of_cause(&cause));
        assert!(section(topic).contains(&text), "`{text}` is not in {topic}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut pages = vec![root().join("README.md")];
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.map(|e| e.unwrap().path()));
    let mut links = 0;
    for page in pages
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(page).unwrap();
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            if target.contains("://") || target.is_empty() {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&file).unwrap();
                let found = anchors(&text).iter().any(|a| a == anchor);
                assert!(found, "{}: {target}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links found");
}
