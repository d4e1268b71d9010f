//! The configuration screen and its editor; and what the daemon says of a candidate.

use serde_json::Value;
use weir_control::{AppliedRow, ChangeRow, ConfigText, Filter, Request, Role, What};

use crate::model::config::{self, Part, VIEWER_MOST, changes, generation, losses};
use crate::model::dialog::{Ask, Deed, Dialog, Rung};
use crate::model::editline::EditLine;
use crate::model::editor::{self, Editor, MOST, Move, Verdict};
use crate::model::filter::Cycle;
use crate::model::list::{Step, scroll};
use crate::model::{After, Effect, Mode, Model, Tone};
use crate::term::input::Key;
use crate::units::{exact, folded, plural, span};
use crate::update::screen::{Effects, Screen};
use crate::view::config::gutter;
use crate::view::header::cut;

/// The name that a candidate has in the daemon's reports.
const NAME: &str = "candidate";
/// How wide a line of a question is.
const WIDE: usize = 68;
/// How many losses a question names.
const NAMED: usize = 2;
/// How many keys are kept for an editor that has no text yet.
const EARLY: usize = 1024;

/// It shows what runs, what is to run, and what ran before.
pub(crate) struct Config;

impl Screen for Config {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        go(model, step);
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        fit(model);
    }

    fn told(&self, model: &mut Model, what: What, _: &Filter) {
        if what == What::Config {
            model.config.is_old = false;
            begin(model);
        }
    }

    fn close(&self, model: &mut Model) -> bool {
        model.config.part = Part::Running;
        model.config.top = 0;
        true
    }

    fn part(&self, model: &mut Model) {
        model.config.part = model.config.part.next();
        model.config.top = 0;
        if model.config.part == Part::Generations {
            go(model, Step::Bottom);
        }
    }

    fn edit(&self, model: &mut Model) {
        edit(model);
    }

    fn apply(&self, model: &mut Model) {
        apply(model);
    }

    fn confirm(&self, model: &mut Model) -> Effects {
        confirm(model)
    }

    fn rollback(&self, model: &mut Model) {
        rollback(model);
    }

    fn discard(&self, model: &mut Model) {
        discard(model);
    }
}

/// Scrolls the open part.
fn go(model: &mut Model, step: Step) {
    let height = model.list_height();
    match model.config.part {
        Part::Generations => {
            let rows = model.data.generations.as_ref();
            let length = rows.map_or(0, |told| told.value.len());
            // One line is the heading of the table.
            let height = height.saturating_sub(1);
            model.config.cursor.go(step, length, height);
        }
        Part::Candidate => {
            if let Some(editor) = &mut model.config.editor {
                let length = editor.lines().len();
                scroll(&mut editor.top, step, length, height);
            }
        }
        Part::Running | Part::Diff => {
            let length = config::lines(model).map_or(0, |lines| lines.len());
            scroll(&mut model.config.top, step, length, height);
        }
    }
}

/// Opens the editor, on the candidate or on what runs. Where that was not told yet, it waits for it:
/// what is typed next is text, and must not be keys of the screen.
fn edit(model: &mut Model) {
    model.config.part = Part::Candidate;
    model.mode = Mode::Editor;
    begin(model);
    fit(model);
}

/// Makes the candidate that an open editor waits for of what runs, where that is known.
fn begin(model: &mut Model) {
    if !model.mode_is_editor() || model.config.editor.is_some() {
        return;
    }
    let Some(told) = &model.data.config else {
        return;
    };
    let editor = Editor::new(&told.value, generation(model), model.clock.up);
    model.config.editor = Some(editor);
    for early in std::mem::take(&mut model.config.early) {
        key(model, early);
    }
}

/// Takes a key of an editor that was not told yet what runs.
fn key_early(model: &mut Model, key: Key) -> Vec<Effect> {
    if key == Key::Ctrl('l') {
        return vec![Effect::Redraw, Effect::AskSize];
    }
    let early = &mut model.config.early;
    if matches!(key, Key::Esc | Key::Ctrl('c')) {
        early.clear();
        model.config.part = Part::Running;
        model.mode = Mode::Screen;
    } else if early.len() < EARLY {
        early.push(key);
    } else {
        let text = "the daemon did not say yet what runs: no more keys are kept";
        model.say(Tone::Warn, text);
    }
    Vec::new()
}

/// Takes a key of the editor.
pub(crate) fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    let page = model.list_height().saturating_sub(1).max(1).cast_signed();
    let now = model.clock.up;
    let Some(editor) = &mut model.config.editor else {
        return key_early(model, key);
    };
    if editor.finding.is_some() {
        find(model, key);
        fit(model);
        return Vec::new();
    }
    let mut has_room = true;
    match key {
        Key::Char(symbol) => has_room = editor.put(symbol, now),
        Key::Enter => has_room = editor.put('\n', now),
        Key::Tab => has_room = editor.put('\t', now),
        Key::Backspace => editor.backspace(now),
        Key::Delete => editor.delete(now),
        Key::Up => editor.go(Move::Up),
        Key::Down => editor.go(Move::Down),
        Key::Left => editor.go(Move::Left),
        Key::Right => editor.go(Move::Right),
        Key::PageUp => editor.go(Move::Page(-page)),
        Key::PageDown => editor.go(Move::Page(page)),
        Key::Home if editor.cursor().1 == 0 => editor.go(Move::Top),
        Key::Home => editor.go(Move::Begin),
        Key::End => {
            let before = editor.cursor();
            editor.go(Move::End);
            if editor.cursor() == before {
                editor.go(Move::Bottom);
                editor.go(Move::End);
            }
        }
        Key::Ctrl('u') => editor.undo(now),
        Key::Ctrl('r') => editor.redo(now),
        Key::Ctrl('k') => editor.cut(now),
        Key::Ctrl('y') => editor.put_back(now),
        Key::Ctrl('w') => editor.delete_word(now),
        Key::Ctrl('f') => editor.finding = Some(EditLine::default()),
        Key::Ctrl('g') => {
            editor.find(None);
        }
        Key::Ctrl('n') => {
            if !editor.next_mistake() {
                model.say(Tone::Good, "no mistake is known");
            }
        }
        Key::Ctrl('l') => return vec![Effect::Redraw, Effect::AskSize],
        Key::Esc | Key::Ctrl('c') => {
            // Nothing is lost: the candidate stays, and what it changes is shown.
            model.mode = Mode::Screen;
            model.config.part = Part::Diff;
            model.config.top = 0;
        }
        Key::BackTab | Key::Ctrl(_) => {}
    }
    if !has_room {
        say_full(model);
    }
    fit(model);
    Vec::new()
}

fn say_full(model: &mut Model) {
    let text = format!("a candidate has at most {} bytes", exact(MOST as u64));
    model.say(Tone::Warn, text);
}

fn find(model: &mut Model, key: Key) {
    let Some(editor) = &mut model.config.editor else {
        return;
    };
    let Some(line) = &mut editor.finding else {
        return;
    };
    if key == Key::Enter {
        let text = line.text();
        editor.finding = None;
        if !editor.find(Some(text.clone())) {
            model.say(Tone::Warn, format!("`{text}` is not there"));
        }
    } else if line.ends(key) {
        editor.finding = None;
    } else {
        line.key(key);
    }
}

/// Takes a paste: all of it or nothing.
pub(crate) fn paste(model: &mut Model, text: &str, length: usize, is_whole: bool) {
    let now = model.clock.up;
    let Some(editor) = &mut model.config.editor else {
        model.say(
            Tone::Warn,
            "the daemon did not say yet what runs: nothing of the paste was taken",
        );
        return;
    };
    if let Some(line) = &mut editor.finding {
        line.insert(text.lines().next().unwrap_or_default());
        return;
    }
    if !is_whole || !editor.insert(text, now) {
        let text = format!(
            "a paste of {} bytes is too long: nothing of it was taken",
            exact(length as u64)
        );
        model.say(Tone::Warn, text);
    }
    fit(model);
}

/// Keeps the cursor of the editor in sight.
pub(crate) fn fit(model: &mut Model) {
    let height = model.list_height();
    let width = usize::from(model.size.width);
    if let Some(editor) = &mut model.config.editor {
        let room = width.saturating_sub(gutter(editor)).max(1);
        editor.fit(height, room);
    }
}

/// Asks the daemon about the candidate once nothing was typed for a moment.
pub(crate) fn due(model: &mut Model) -> Vec<Effect> {
    let now = model.clock.up;
    if config::due_in(model, now).is_none_or(|left| !left.is_zero()) {
        return Vec::new();
    }
    let generation = generation(model);
    let is_viewer = model.link.role() == Some(Role::Viewer);
    let Some(editor) = &mut model.config.editor else {
        return Vec::new();
    };
    let subject = (editor.version, generation);
    if is_viewer && editor.bytes() > VIEWER_MOST {
        let sentence = format!(
            "a viewer may have {} bytes checked, this candidate has {}",
            exact(VIEWER_MOST as u64),
            exact(editor.bytes() as u64)
        );
        editor.verdict = Verdict::Failed(sentence);
        editor.verdict_of = Some(subject);
        return Vec::new();
    }
    editor.asked = Some(subject);
    let texts = texts(editor);
    let what = "check of the candidate".to_owned();
    model.ask(what, Request::Diff { texts }, After::Check)
}

fn texts(editor: &Editor) -> Vec<ConfigText> {
    vec![ConfigText {
        name: NAME.to_owned(),
        text: editor.text(),
    }]
}

/// Takes what the daemon says of the candidate.
pub(crate) fn checked(model: &mut Model, rows: Result<Vec<Value>, String>) {
    let now = model.clock.up;
    let Some(editor) = &mut model.config.editor else {
        return;
    };
    let Some(subject) = editor.asked.take() else {
        return;
    };
    let rows = rows.and_then(|rows| {
        let rows = rows.into_iter().map(serde_json::from_value);
        let rows: Result<Vec<ChangeRow>, _> = rows.collect();
        rows.map_err(|error| format!("a row of the daemon cannot be read: {error}"))
    });
    editor.failed_at = None;
    let is_now = subject.0 == editor.version;
    match rows {
        Ok(rows) => editor.verdict = Verdict::Good(rows),
        Err(sentence) => match editor::mistakes(&sentence) {
            // Of what stood there before they would stand beside other lines.
            Some(_) if !is_now => return,
            Some((mistakes, summary)) => editor.verdict = Verdict::Wrong(mistakes, summary),
            None => {
                editor.failed_at = Some(now);
                editor.verdict = Verdict::Failed(sentence);
                editor.verdict_of = None;
                return fit(model);
            }
        },
    }
    editor.verdict_of = Some(subject);
    if model.mode_is_editor() {
        fit(model);
    }
}

/// Asks before the candidate runs on trial.
fn apply(model: &mut Model) {
    let Some(editor) = &model.config.editor else {
        model.say(Tone::Warn, "there is no candidate: e makes one");
        return;
    };
    let (Some(status), Some(running)) = (&model.data.status, &model.data.config) else {
        model.say(Tone::Warn, "the daemon did not say yet what runs");
        return;
    };
    let Some(rows) = changes(model) else {
        let text = match &editor.verdict {
            Verdict::Wrong(_, summary) => format!("the candidate has {summary}: e edits it"),
            Verdict::Failed(sentence) => format!("the candidate is not checked: {sentence}"),
            Verdict::Unknown | Verdict::Good(_) => {
                "the daemon is asked what the candidate changes; try again".to_owned()
            }
        };
        model.say(Tone::Warn, text);
        return;
    };
    if rows.is_empty() {
        model.say(
            Tone::Good,
            "the candidate is what runs: nothing would change",
        );
        return;
    }
    if model.config.is_old {
        let text = "another configuration runs since a moment; look at the diff and try again";
        model.say(Tone::Warn, text);
        return;
    }
    let status = &status.value;
    let count = |change: &str| rows.iter().filter(|row| row.change == change).count();
    let mut lines = vec![
        format!(
            "The candidate replaces configuration {} of {}.",
            status.generation, status.node
        ),
        String::new(),
        format!(
            "{}: {} added, {} removed, {} changed.",
            plural(rows.len() as u64, "object"),
            count("added"),
            count("removed"),
            count("changed")
        ),
    ];
    let lost = losses(rows);
    for (row, effect) in lost.iter().take(NAMED) {
        let sessions = row.sessions.map_or_else(String::new, |count| {
            format!(", {}", plural(count, "session"))
        });
        let object = row.object.trim_matches(['[', ']']);
        let text = format!("{object} {}{sessions}: {effect}", row.change);
        lines.extend(folded(&text, WIDE));
    }
    if lost.len() > NAMED {
        let more = (lost.len() - NAMED) as u64;
        lines.push(format!(
            "And {} with a loss; v shows the diff.",
            plural(more, "more object")
        ));
    }
    if lost.is_empty() {
        lines.push("Sessions that are open go on.".to_owned());
    }
    lines.push(format!(
        "Configuration {} comes back unless  c  confirms within 2m, or within",
        status.generation
    ));
    lines.push("a time that you type behind the word, as in 10m.".to_owned());
    let word = match lost.first() {
        // What stops is typed by its name.
        Some((row, _)) => {
            let heading = row.object.trim_matches(['[', ']']);
            let name = heading.rsplit(' ').next().unwrap_or(heading);
            name.to_owned()
        }
        None => "apply".to_owned(),
    };
    let ask = Ask::Apply {
        word: word.clone(),
        texts: texts(editor),
        over: running.value.join("\n"),
    };
    let prompt = format!("Type  {word}  and press Enter:");
    model.question(Dialog::ask("Apply the candidate", lines, prompt, ask));
}

/// Makes the configuration stay that runs on trial: that takes nothing from anybody.
fn confirm(model: &mut Model) -> Vec<Effect> {
    let status = model.data.status.as_ref().map(|told| &told.value);
    let Some(status) = status.filter(|status| status.confirm_within_s.is_some()) else {
        model.say(Tone::Warn, "no configuration waits to be confirmed");
        return Vec::new();
    };
    let what = format!("confirmation of configuration {}", status.generation);
    model.order(what, Request::Confirm {})
}

/// Asks before a configuration comes back that ran before.
fn rollback(model: &mut Model) {
    let Some(status) = model.data.status.as_ref().map(|told| told.value.clone()) else {
        model.say(Tone::Warn, "the daemon did not say yet what runs");
        return;
    };
    let kept = model.data.generations.as_ref();
    let kept = kept.map_or(&[][..], |told| &told.value);
    let selected = match model.config.part {
        Part::Generations => kept.get(model.config.cursor.index),
        Part::Running | Part::Candidate | Part::Diff => None,
    };
    if selected.is_some_and(|row| row.generation == status.generation) {
        model.say(Tone::Warn, "that is the one that runs; select another one");
        return;
    }
    let mut lines = vec![format!(
        "Configuration {} of {} goes.",
        status.generation, status.node
    )];
    lines.push(String::new());
    match (selected, status.confirm_within_s) {
        (Some(row), _) => {
            lines.push(format!(
                "Configuration {} comes back, of {}",
                row.generation, row.at
            ));
            lines.push(cut(&format!("by {}: {}", row.by, row.summary), WIDE));
        }
        (None, Some(left)) => {
            lines.push("It was not confirmed: the one before comes back now,".to_owned());
            lines.push(format!("and not only in {}.", span(left)));
        }
        (None, None) => {
            lines.push("The one that was applied before it comes back; v shows which.".to_owned());
        }
    }
    lines.push(format!(
        "{} now; those of what goes with it are reset.",
        plural(status.sessions, "session")
    ));
    let rung = match (selected, status.confirm_within_s) {
        // A trial that ends.
        (None, Some(_)) => Rung::Capacity {
            verb: "rollback".to_owned(),
        },
        (Some(_) | None, _) => Rung::Stops {
            object: status.node.clone(),
        },
    };
    let generation = selected.map(|row| row.generation);
    let deed = Deed::Send {
        what: "rollback".to_owned(),
        request: Request::Rollback { generation },
    };
    model.question(Dialog::confirm("Roll back", lines, rung, deed));
}

/// Asks before the candidate is thrown away.
fn discard(model: &mut Model) {
    if model.config.editor.is_none() {
        model.say(Tone::Warn, "there is no candidate");
        return;
    }
    if !config::is_unsaved(model) {
        drop_candidate(model);
        return;
    }
    let lines = vec![
        "What was written in the candidate is lost.".to_owned(),
        "The configuration that runs stays as it is.".to_owned(),
    ];
    let rung = Rung::Capacity {
        verb: "discard".to_owned(),
    };
    let title = "Discard the candidate";
    model.question(Dialog::confirm(title, lines, rung, Deed::Discard));
}

/// Throws the candidate away.
pub(crate) fn drop_candidate(model: &mut Model) {
    model.config.editor = None;
    model.config.tried = None;
    model.config.part = Part::Running;
    model.config.top = 0;
    model.say(Tone::Good, "there is no candidate any more");
}

/// Leaves the console, but asks first where something that was written would be lost.
pub(crate) fn leave(model: &mut Model) -> Vec<Effect> {
    if !config::is_unsaved(model) {
        return vec![Effect::Leave];
    }
    let lines = vec![
        "The candidate was changed and does not run.".to_owned(),
        "It is kept in this console only: who leaves loses it.".to_owned(),
    ];
    let rung = Rung::Capacity {
        verb: "leave".to_owned(),
    };
    let title = "Leave the console";
    model.question(Dialog::confirm(title, lines, rung, Deed::Leave));
    Vec::new()
}

/// Returns the version of the candidate where these are its texts still.
fn version_of(model: &Model, texts: &[ConfigText]) -> Option<u64> {
    let editor = model.config.editor.as_ref()?;
    let is_same = self::texts(editor) == texts;
    is_same.then_some(editor.version)
}

/// Takes what became of an apply, a confirmation or a rollback.
pub(crate) fn applied(
    model: &mut Model,
    what: &str,
    request: &Request,
    rows: Result<Vec<Value>, String>,
) {
    model.config.is_old = true;
    let row = rows.and_then(|rows| {
        let row = rows.into_iter().next().unwrap_or_default();
        let row: Result<AppliedRow, _> = serde_json::from_value(row);
        row.map_err(|error| format!("the daemon's answer cannot be read: {error}"))
    });
    let row = match row {
        Ok(row) => row,
        Err(sentence) => {
            // A report has its place beside the lines, not in a sentence.
            let first = sentence.lines().next().unwrap_or_default();
            model.say(Tone::Bad, format!("{what}: {first}"));
            return;
        }
    };
    let number = row.generation;
    // What is ordered next is meant for it, also before the daemon tells how it is.
    if let Some(told) = &mut model.data.status {
        told.value.generation = number;
    }
    let text = match (request, row.confirm_within_s) {
        (Request::Apply { texts, .. }, Some(left)) => {
            model.config.tried = version_of(model, texts).map(|version| (number, version));
            format!(
                "configuration {number} runs on trial: c confirms it within {}",
                span(left)
            )
        }
        (Request::Confirm {}, _) => {
            let editor = model.config.editor.as_ref();
            let tried = model.config.tried.take();
            let is_tried = tried.is_some() && tried == editor.map(|it| (number, it.version));
            // What was written since is not lost, and an open editor is not closed.
            if is_tried && !model.mode_is_editor() {
                model.config.editor = None;
                model.config.part = Part::Running;
            }
            format!("configuration {number} is confirmed")
        }
        (Request::Rollback { .. }, _) => {
            // The candidate stays, to be mended.
            model.config.tried = None;
            format!("configuration {number} runs again")
        }
        (_, _) => format!("configuration {number} runs: {}", row.summary),
    };
    match row.warning {
        Some(warning) => model.say(Tone::Warn, format!("{text}; {warning}")),
        None => model.say(Tone::Good, text),
    }
}
