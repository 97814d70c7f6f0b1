//! Text of visitors on a page: it cannot reorder what is around it, and its invisible characters are visible.

use maud::{Markup, html};

/// Text of a visitor, in a direction of its own. Characters that nobody would see are shown by their number.
pub(crate) fn shown(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// The same without a direction of its own, for sentences of the console that quote a part of a request.
pub(crate) fn visible(text: &str) -> Markup {
    html! {
        @for part in parts(text) {
            @match part {
                Ok(text) => (text),
                Err(hidden) => span.control { (number(hidden)) },
            }
        }
    }
}

/// Text of a visitor for a title, which has no elements.
pub(crate) fn plain(text: &str) -> String {
    // The first character isolates the direction of what follows, up to the last one.
    let mut plain = String::from('\u{2068}');
    for part in parts(text) {
        match part {
            Ok(text) => plain.push_str(text),
            Err(hidden) => plain.push_str(&format!("⟨{}⟩", number(hidden))),
        }
    }
    plain.push('\u{2069}');
    plain
}

fn number(hidden: char) -> String {
    format!("U+{:04X}", u32::from(hidden))
}

/// Runs of visible characters, and the hidden ones between them.
fn parts(text: &str) -> impl Iterator<Item = Result<&str, char>> {
    text.split_inclusive(is_hidden).flat_map(|run| {
        let hidden = run.chars().next_back().filter(|last| is_hidden(*last));
        let visible = &run[..run.len() - hidden.map_or(0, char::len_utf8)];
        let visible = (!visible.is_empty()).then_some(Ok(visible));
        visible.into_iter().chain(hidden.map(Err))
    })
}

/// Control characters, all spaces but the usual one, letters that are blank, and characters that have no width or change the
/// direction of the text after them: what Unicode calls `Default_Ignorable_Code_Point`, and some more.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_letters_foreign_spaces_and_variations_are_hidden() {
        let blank =
            "\u{3164}\u{115f}\u{2800}\u{fe0f}\u{e0101}\u{a0}\u{2003}\u{3000}\u{13430}\u{180f}";
        assert_eq!(parts(blank).filter(Result::is_err).count(), 10);
        assert!(parts("Zoë O\u{2019}Neill 山田").all(|part| part.is_ok()));
    }

    #[test]
    fn what_is_hidden_is_shown_by_its_number_and_the_rest_as_it_is() {
        let hostile = "\u{202e}ann\u{7}\u{200b} b<o>\u{f6}\n";
        assert_eq!(
            shown(hostile).into_string(),
            "<bdi><span class=\"control\">U+202E</span>ann<span class=\"control\">U+0007</span>\
             <span class=\"control\">U+200B</span> b&lt;o&gt;\u{f6}<span class=\"control\">U+000A</span></bdi>"
        );
        assert_eq!(
            plain(hostile),
            "\u{2068}⟨U+202E⟩ann⟨U+0007⟩⟨U+200B⟩ b<o>\u{f6}⟨U+000A⟩\u{2069}"
        );
        assert_eq!(shown("עדה 1").into_string(), "<bdi>עדה 1</bdi>");
    }
}
