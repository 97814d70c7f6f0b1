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

/// Control characters, and those that have no width, or change the direction of the text after them.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

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
