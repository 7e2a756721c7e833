//! The form of a report: parts that share 40 lines of 80 columns by how much they matter.
//!
//! Everything that comes here is cleaned, so a byte is a column.

/// The columns of a report: what every terminal and every issue tracker shows without wrapping.
pub(super) const WIDTH: usize = 80;
/// The lines of a report: what one screen shows.
pub(super) const HEIGHT: usize = 40;
/// Names longer than this stand on a line of their own, above their value.
const NAME_COLUMN: usize = 34;
const INDENT: usize = 2;

/// One piece of a report.
pub(super) struct Part {
    body: Body,
    title: Option<&'static str>,
    /// Whether an empty line stands above.
    apart: bool,
    /// How many lines it needs to make sense.
    least: usize,
    /// Which parts get lines first; 0 is served before all others.
    rank: u8,
}

enum Body {
    Text(String),
    Table(Table),
}

/// Names and what is known of each. What does not fit is counted, and named where names say something.
pub(super) struct Table {
    rows: Vec<(String, String)>,
    /// Rows that were not even handed over.
    unseen: usize,
    /// Whether the rows are items to be read whole, in their order, and their names only numbers.
    numbered: bool,
}

impl Part {
    /// A paragraph of at most `most` lines.
    pub(super) fn text(rank: u8, most: usize, text: &str) -> Self {
        let text = cut(wrap(text, WIDTH), most).join("\n");
        Self { body: Body::Text(text), title: None, apart: false, least: 3, rank }
    }

    /// A table under its title. `None` where there is nothing to show.
    pub(super) fn table(rank: u8, title: Option<&'static str>, table: Table) -> Option<Self> {
        let part = Self { body: Body::Table(table), title, apart: title.is_some(), least: 4, rank };
        (part.wants() > 0).then_some(part)
    }

    /// How many lines it gets before less important parts get any: 3 or 4 unless said otherwise.
    pub(super) fn least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    pub(super) fn apart(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    fn wants(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.lines().count(),
            Body::Table(table) => table.full().iter().map(Vec::len).sum(),
        }
    }

    fn overhead(&self) -> usize {
        usize::from(self.apart) + usize::from(self.title.is_some())
    }

    fn render(&self, lines: usize) -> Vec<String> {
        let above = self.apart.then(String::new).into_iter().chain(self.title.map(str::to_owned));
        let body = match &self.body {
            Body::Text(text) => cut(text.lines().map(str::to_owned).collect(), lines),
            Body::Table(table) => table.fit(lines),
        };
        above.chain(body).collect()
    }
}

impl Table {
    /// At most the first 100 of `rows`, because no report shows more. The others are only counted, by what
    /// the iterator knows of its length: a graph may have 100,000 stages.
    pub(super) fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut rows = rows.into_iter();
        let seen = rows.by_ref().take(100).collect();
        Self { rows: seen, unseen: rows.size_hint().0, numbered: false }
    }

    /// Numbered items instead of named ones.
    pub(super) fn numbered(items: impl IntoIterator<Item = String>) -> Self {
        let rows = items.into_iter().enumerate().map(|(at, item)| (format!("{}.", at + 1), item));
        Self { numbered: true, ..Self::new(rows) }
    }

    /// Blanks between name and value.
    fn gap(&self) -> usize {
        if self.numbered { 1 } else { 2 }
    }

    fn column(&self) -> usize {
        let lengths = self.rows.iter().map(|(name, _)| name.len());
        lengths.filter(|&length| length <= NAME_COLUMN).max().unwrap_or(0)
    }

    /// Each row with all of its lines.
    fn full(&self) -> Vec<Vec<String>> {
        let (column, gap) = (self.column(), self.gap());
        let left = INDENT + column + gap;
        let layout = |(name, value): &(String, String)| {
            let mut lines: Vec<String> = Vec::new();
            let mut name = name.as_str();
            if name.len() > column {
                lines.push(format!("{:INDENT$}{name}", "").trim_end().to_owned());
                name = "";
            }
            for line in wrap(value, WIDTH - left) {
                let text = format!("{:INDENT$}{name:column$}{:gap$}{line}", "", "");
                lines.push(text.trim_end().to_owned());
                name = "";
            }
            lines
        };
        self.rows.iter().map(layout).collect()
    }

    /// A row on one line, whatever it takes.
    fn short(&self, (name, value): &(String, String)) -> String {
        let (column, gap) = (self.column(), self.gap());
        let text = format!("{:INDENT$}{name:column$}{:gap$}{value}", "", "");
        let first = text.lines().next().unwrap_or_default().trim_end().to_owned();
        let is_whole = first.len() == text.trim_end().len();
        if is_whole && first.len() <= WIDTH { first } else { ellipsis(first) }
    }

    /// The table in `lines` lines: whole, or with rows on one line each, or with the last rows only named.
    fn fit(&self, lines: usize) -> Vec<String> {
        if self.numbered {
            return self.fit_items(lines);
        }
        if self.unseen > 0 || self.rows.len() > lines {
            let shown = (0..lines).rev().find(|&shown| shown + self.tail(shown).len() <= lines).unwrap_or(0);
            let head = self.rows.iter().take(shown).map(|row| self.short(row));
            return head.chain(cut(self.tail(shown), lines - shown)).collect();
        }
        let mut spare = lines - self.rows.len();
        let mut fitted = Vec::with_capacity(lines);
        for (row, full) in self.rows.iter().zip(self.full()) {
            let more = full.len().saturating_sub(1);
            if more <= spare {
                spare -= more;
                fitted.extend(full);
            } else {
                fitted.push(self.short(row));
            }
        }
        fitted
    }

    /// The first items that fit, each of them whole: half a command is worse than none.
    fn fit_items(&self, lines: usize) -> Vec<String> {
        let full = self.full();
        let mut fitted: Vec<String> = Vec::with_capacity(lines);
        for (at, item) in full.iter().enumerate() {
            let reserved = usize::from(at + 1 < full.len());
            if fitted.len() + item.len() + reserved > lines {
                if at == 0 {
                    fitted = cut(item.clone(), lines - reserved);
                }
                let shown = at.max(1);
                fitted.extend((shown < full.len()).then(|| self.tail(shown)).into_iter().flatten());
                break;
            }
            fitted.extend(item.iter().cloned());
        }
        fitted
    }

    /// What is said of the rows after the first `shown`.
    fn tail(&self, shown: usize) -> Vec<String> {
        let hidden = &self.rows[shown..];
        let count = hidden.len() + self.unseen;
        let mut names: Vec<&str> = hidden.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        names.retain(|name| !name.is_empty() && !self.numbered);
        let mut text = if shown == 0 { format!("{count} in all") } else { format!("... and {count} more") };
        if !names.is_empty() {
            text = format!("{text}: {}{}", names.join(", "), if self.unseen > 0 { ", ..." } else { "" });
        }
        wrap(&text, WIDTH - INDENT).into_iter().map(|line| format!("{:INDENT$}{line}", "")).collect()
    }
}

/// The whole report: `verdict` between lines of `=`, the parts, and a last line of `=`.
pub(super) fn block(verdict: &[String], parts: &[Part]) -> String {
    let rule = "=".repeat(WIDTH);
    let mut budget = HEIGHT.saturating_sub(verdict.len() + 3);
    let mut by_rank: Vec<usize> = (0..parts.len()).collect();
    by_rank.sort_by_key(|&at| parts[at].rank);
    let mut granted = vec![0; parts.len()];
    // First what each part needs to make sense, then what it would like.
    for &at in &by_rank {
        let part = &parts[at];
        let room = budget.saturating_sub(part.overhead());
        granted[at] = part.least.min(part.wants()).min(room);
        if granted[at] > 0 {
            budget -= granted[at] + part.overhead();
        }
    }
    for &at in by_rank.iter().filter(|&&at| granted[at] > 0).collect::<Vec<_>>() {
        let more = (parts[at].wants() - granted[at]).min(budget);
        granted[at] += more;
        budget -= more;
    }
    let body = parts.iter().zip(&granted).filter(|(_, lines)| **lines > 0);
    let body = body.flat_map(|(part, &lines)| part.render(lines));
    let head = [rule.clone()].into_iter().chain(verdict.iter().cloned()).chain([rule.clone()]);
    let mut text: String = head.chain(body).chain([rule]).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

/// The verdict: what and where on the left, the exit code at the right edge, where both fit on one line.
pub(super) fn verdict(left: &str, right: &str) -> Vec<String> {
    if left.len() + 2 + right.len() <= WIDTH {
        return vec![format!("{left}{right:>width$}", width = WIDTH - left.len())];
    }
    let mut lines = cut(wrap(left, WIDTH), 3);
    lines.push(format!("{right:>WIDTH$}"));
    lines
}

/// `text` in lines of at most `width` columns, broken at blanks where that is possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.split('\n').flat_map(|line| wrap_line(line, width)).collect()
}

fn wrap_line(text: &str, width: usize) -> Vec<String> {
    let text = text.trim();
    if text.len() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text, width) {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let mut word = word.as_str();
        while word.len() > width {
            let (head, rest) = word.split_at(width);
            lines.push(head.to_owned());
            word = rest;
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The words of a line. What stands in backticks counts as one word where it fits on a line, because it
/// is there to be pasted.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut opened = None;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        words.push(word.to_owned());
        if word.matches('`').count() % 2 == 0 {
            continue;
        }
        match opened.take() {
            None => opened = Some(words.len() - 1),
            Some(first) => {
                let quoted = words[first..].join(" ");
                if quoted.len() <= width {
                    words.truncate(first);
                    words.push(quoted);
                }
            }
        }
    }
    words
}

/// The first `most` of `lines`; the last of them says where some are missing.
fn cut(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        let last = lines.pop().map(ellipsis);
        lines.extend(last);
    }
    lines
}

fn ellipsis(mut line: String) -> String {
    line.truncate(WIDTH - 3);
    line.push_str("...");
    line
}

#[cfg(test)]
mod tests;
