//! what a new plugin of any language is begun with: its world's cases, and what git leaves out

use crate::plugin::World;

/// Paths within the new folder, and contents.
pub(super) fn common(world: World) -> Vec<(&'static str, &'static str)> {
    let mut files = vec![(".gitignore", "build/\n*.wasm\n__pycache__/\n")];
    files.extend_from_slice(cases(world));
    files
}

/// The same plugin in every language passes the same cases.
pub(super) fn cases(world: World) -> &'static [(&'static str, &'static str)] {
    match world {
        World::Parser => &[
            ("cases/lines.toml", include_str!("../../../../plugins/templates/cases/parser/lines.toml")),
            ("cases/default-level.toml", include_str!("../../../../plugins/templates/cases/parser/default-level.toml")),
            ("cases/refused.toml", include_str!("../../../../plugins/templates/cases/parser/refused.toml")),
        ],
        World::Filter => &[
            ("cases/levels.toml", include_str!("../../../../plugins/templates/cases/filter/levels.toml")),
            ("cases/refused.toml", include_str!("../../../../plugins/templates/cases/filter/refused.toml")),
        ],
        World::Enricher => &[
            ("cases/classes.toml", include_str!("../../../../plugins/templates/cases/enricher/classes.toml")),
            ("cases/field.toml", include_str!("../../../../plugins/templates/cases/enricher/field.toml")),
            ("cases/refused.toml", include_str!("../../../../plugins/templates/cases/enricher/refused.toml")),
        ],
        World::Autoscaler => &[
            ("cases/ticks.toml", include_str!("../../../../plugins/templates/cases/autoscaler/ticks.toml")),
            ("cases/refused.toml", include_str!("../../../../plugins/templates/cases/autoscaler/refused.toml")),
        ],
    }
}
