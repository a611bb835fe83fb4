//! The page of `loadgen report` as a browser shows it.

use std::path::Path;
use std::process::Command;

/// Runs with `--ignored`: it wants Chromium, from the path or named by `CHROMIUM`.
#[test]
#[ignore = "needs Chromium"]
fn a_browser_shows_the_plots_of_a_report() {
    let directory = std::env::temp_dir().join(format!("moqswitch-report-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    loadgen(&directory, &["--duration", "6s", "--jsonl", "run.jsonl"]);
    loadgen(&directory, &["report", "run.jsonl"]);

    let page = std::fs::read_to_string(directory.join("report.html")).unwrap();
    let measured = page.replace("</body>", &format!("{MEASURE}</body>"));
    assert_ne!(measured, page, "the page has a body");
    std::fs::write(directory.join("measured.html"), measured).unwrap();
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let output = Command::new(&chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        // Nothing is to be fetched.
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,2000"])
        .arg(format!("file://{}", directory.join("measured.html").display()))
        .output()
        .unwrap_or_else(|error| panic!("{chromium}: {error}; Debian's package is `chromium`"));
    std::fs::remove_dir_all(&directory).unwrap();
    let document = String::from_utf8_lossy(&output.stdout);
    let plots = document
        .split_once("data-plots=\"")
        .and_then(|(_, rest)| Some(rest.split_once('"')?.0))
        .unwrap_or_else(|| panic!("{document}{}", String::from_utf8_lossy(&output.stderr)));
    let plots: Vec<Vec<f64>> = serde_json::from_str(plots).unwrap();
    assert_eq!(plots.len(), 5, "{plots:?}");
    for plot in &plots {
        let [width, height, lines, breadth] = plot[..] else {
            panic!("{plots:?}");
        };
        assert!(width > 300.0 && height > 100.0, "a plot takes its place: {plots:?}");
        assert!(lines >= 1.0, "a plot has lines: {plots:?}");
        assert!(breadth > width / 4.0, "lines go across the plot: {plots:?}");
    }
}

fn loadgen(directory: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    // A busy machine may make the generator late (3), which is nothing to do with the page.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
}

/// Width and height of each plot, how many lines it has, and how wide the widest is, as laid out.
const MEASURE: &str = "<script>
document.body.dataset.plots = JSON.stringify([...document.querySelectorAll('svg')].map(plot => {
  const box = plot.getBoundingClientRect();
  const lines = [...plot.querySelectorAll('polyline, path')].map(line => line.getBoundingClientRect().width);
  return [box.width, box.height, lines.length, Math.max(0, ...lines)];
}));
</script>";
