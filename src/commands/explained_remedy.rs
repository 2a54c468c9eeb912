//! `--explain`: the remedy of a rule, and the plan for each way in which the mount could be dead.

use super::remedy::facts_of_table;
use crate::config::{Config, Rule};
use crate::monitor::remedy::{Mode, RemedyFacts, Situation, Standing, SuperblockKind, plan};
use crate::render::remedy_plan::{explanation, settings_line};
use platform::{Mount, MountTable};
use std::sync::Arc;

/// Empty without a remedy.
pub(super) fn text(config: &Config, rule: &Rule, mount: &Arc<Mount>, table: &MountTable) -> String {
    let Some(remedy) = rule.remedy.as_ref().filter(|remedy| remedy.settings.mode != Mode::Off) else {
        return String::new();
    };
    let settings = &remedy.settings;
    let mut text = format!("  remedy: {}\n", settings_line(settings));
    text += "  remedy: what would be done, if nothing else forbade it then\n";
    let (facts, doubt) = facts_of_table(config, mount, table);
    for situation in situations(&facts) {
        let facts = facts.clone().supposing(situation, settings.after);
        text += &explanation(&plan(Arc::new(facts), settings, &Standing::default()), "    ");
    }
    text + &doubt.map(|doubt| format!("    (fstab and units of systemd: {doubt})\n")).unwrap_or_default()
}

const fn all_of(kind: SuperblockKind) -> &'static [Situation] {
    match kind {
        SuperblockKind::Fuse => &[Situation::FuseServerGone, Situation::FuseHung, Situation::FuseStopped],
        SuperblockKind::Nfs | SuperblockKind::Smb => {
            &[Situation::Stale, Situation::ServerAnswers, Situation::ServerSilent]
        }
        SuperblockKind::Ceph => {
            &[Situation::Stale, Situation::CephEvicted, Situation::ServerAnswers, Situation::ServerSilent]
        }
        SuperblockKind::Other => &[Situation::Other],
    }
}

fn situations(facts: &RemedyFacts) -> impl Iterator<Item = Situation> {
    all_of(facts.superblock_kind()).iter().copied()
}
