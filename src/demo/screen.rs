//! puts the view on the screen: a block that is drawn over each second, or plain lines
//!
//! **Always:** the cursor is visible again when the screen is dropped, however the demo ended.

use super::view::{self, Decision, Scene};
use std::io::{IsTerminal, Write};

const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";
/// What is left of the label's columns when they are coloured: the space before, and the label.
const LABEL: usize = 11;

/// Where the demo shows itself.
pub struct Screen {
    out: Box<dyn Write + Send>,
    /// columns and lines of the terminal, asked anew each time; nothing: not a terminal
    size: Box<dyn Fn() -> Option<(usize, usize)> + Send>,
    colours: bool,
    /// lines of the block that is on the screen
    drawn: usize,
    hidden: bool,
    told: Option<Decision>,
}

impl Screen {
    /// Standard output: a terminal or not.
    pub fn stdout() -> Screen {
        let live = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let size = move || match live {
            true => Some(terminal_size::terminal_size().map_or(
                (80, 24),
                |(terminal_size::Width(width), terminal_size::Height(height))| {
                    (usize::from(width), usize::from(height))
                },
            )),
            false => None,
        };
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Screen::new(Box::new(std::io::stdout()), Box::new(size), colours)
    }

    /// Any writer, of this size.
    pub fn new(
        out: Box<dyn Write + Send>,
        size: Box<dyn Fn() -> Option<(usize, usize)> + Send>,
        colours: bool,
    ) -> Screen {
        Screen { out, size, colours, drawn: 0, hidden: false, told: None }
    }

    /// Shows the scene: over the last one, or as a line, with a line more when something was decided. Nobody to read it is fine.
    pub fn show(&mut self, scene: &Scene) {
        let block = (self.size)().map(|(width, height)| (view::render(scene, width), height));
        match block {
            Some((block, height)) if block.len() < height => self.draw(&block),
            _ => {
                if scene.change != self.told {
                    self.told = scene.change.clone();
                    if let Some(change) = &scene.change {
                        self.say(&view::plain_change(change));
                    }
                }
                self.say(&view::plain(scene));
            }
        }
    }

    /// Whether a block is drawn, which has everything in it.
    pub fn live(&self) -> bool {
        (self.size)().is_some()
    }

    /// A line for good, below what is shown.
    pub fn say(&mut self, line: &str) {
        self.drawn = 0;
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }

    /// Nothing more is drawn over: the cursor is visible again.
    pub fn rest(&mut self) {
        if self.hidden {
            self.hidden = false;
            self.drawn = 0;
            let _ = self.out.write_all(SHOW.as_bytes());
            let _ = self.out.flush();
        }
    }

    /// How wide lines may be; a pipe takes any width.
    pub fn width(&self) -> usize {
        (self.size)().map_or(160, |(width, _)| width)
    }

    fn draw(&mut self, block: &[String]) {
        let mut text = String::new();
        if !self.hidden {
            text.push_str(HIDE);
            self.hidden = true;
        }
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        for (at, line) in block.iter().enumerate() {
            text.push_str(&self.coloured(at, line));
            text.push_str("\x1b[K\n");
        }
        // A block that became shorter leaves nothing behind.
        text.push_str("\x1b[J");
        self.drawn = block.len();
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    fn coloured(&self, at: usize, line: &str) -> String {
        match (self.colours, at) {
            (false, _) => line.to_owned(),
            (true, 0) => format!("\x1b[1m{line}\x1b[0m"),
            (true, _) => {
                let label: String = line.chars().take(LABEL).collect();
                let text: String = line.chars().skip(LABEL).collect();
                format!("\x1b[36m{label}\x1b[0m{text}")
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_terminal_is_drawn_over_and_gets_its_cursor_back() {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()), Box::new(|| Some((80, 40))), true);
        screen.show(&Scene::default());
        let lines = view::render(&Scene::default(), 80).len();
        screen.show(&Scene::default());
        drop(screen);
        let text = paper.text();
        assert!(text.starts_with(HIDE) && text.ends_with(SHOW));
        assert_eq!(text.matches(&format!("\x1b[{lines}A\r")).count(), 1);
        assert_eq!(text.matches('\n').count(), lines * 2);
    }

    #[test]
    fn a_pipe_and_a_tiny_terminal_get_plain_lines() {
        for size in [None, Some((80, 5))] {
            let paper = Paper::default();
            let mut screen = Screen::new(Box::new(paper.clone()), Box::new(move || size), true);
            let change = Some(Decision { second: 3, from: 1, to: 2, reason: "Load.".to_owned() });
            let scene = Scene { change, ..Scene::default() };
            screen.show(&scene);
            screen.show(&scene);
            drop(screen);
            let text = paper.text();
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(!text.contains('\x1b'));
        }
    }
}
