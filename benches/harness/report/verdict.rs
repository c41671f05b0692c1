//! The verdict: what is said first, in sentences, of figures that stand further down. It says what was measured, whoever it speaks for.

use super::figures::{ARRIVED, EMITTED, LOST};
use super::format::{number, value};
use super::run::{Load, Run, System};

/// The sentences about a load.
pub(super) fn of_load(run: &Run, load: &Load) -> Vec<String> {
    let sentences = [losses_of_ours(run, load), losses_of_others(run, load), rates(run, load)];
    sentences.into_iter().flatten().collect()
}

/// How far one can rely on them.
pub(super) fn spread(run: &Run) -> String {
    let widest = |load| run.systems.iter().filter_map(move |system| Some((share_of_spread(load, system)?, system)));
    let unpaced = run.loads.iter().filter(|load| !load.is_paced);
    let rounds = run.loads.iter().flat_map(|load| &load.rounds).map(|round| round.round).max();
    match unpaced.flat_map(widest).max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        _ if rounds == Some(1) => "Of one round: how far rounds differ is told by `--rounds 3`.".to_owned(),
        Some((share, system)) => format!(
            "Medians of {} rounds, which differ: what arrived per second by up to {} % of its median ({}).",
            rounds.unwrap_or(0),
            number(share * 100.0),
            system.title
        ),
        None => format!("Medians of {} rounds.", rounds.unwrap_or(0)),
    }
}

fn losses_of_ours(run: &Run, load: &Load) -> Option<String> {
    let ours: Vec<_> = run.systems.iter().filter(|system| system.ours).collect();
    let rounds = || ours.iter().flat_map(|system| load.of(system).map(move |round| (round, system)));
    let (worst, system) = rounds().max_by_key(|(round, _)| round.lost())?;
    let in_queue = match worst.loaded.dropped_by_queue.min(worst.lost()) {
        0 => String::new(),
        records => format!(", {} of them in the SDK's queue", value(records as f64, LOST.unit)),
    };
    Some(match worst.lost() {
        0 => format!("With this crate 0 records were lost, in each of {} runs.", rounds().count()),
        lost => {
            let lost = value(lost as f64, LOST.unit);
            format!("With this crate up to {lost} records were lost ({}){in_queue}.", system.title)
        }
    })
}

fn losses_of_others(run: &Run, load: &Load) -> Option<String> {
    let of = |system: &System| {
        let (lost, emitted) = (LOST.median(load, system)?, EMITTED.median(load, system)?);
        Some(format!(
            "{} lost {} of {} ({})",
            system.title,
            value(lost, LOST.unit),
            value(emitted, EMITTED.unit),
            percent(lost, emitted)
        ))
    };
    let others: Vec<_> = run.systems.iter().filter(|system| !system.ours && system.delivers).filter_map(of).collect();
    (!others.is_empty()).then(|| others.join("; ") + ".")
}

/// At a given rate all are as fast.
fn rates(run: &Run, load: &Load) -> Option<String> {
    let base = run.base().filter(|_| !load.is_paced)?;
    let divisor = ARRIVED.median(load, base).filter(|rate| *rate > 0.0)?;
    let ours = run.systems.iter().filter(|system| system.ours);
    let mut ratios: Vec<_> =
        ours.filter_map(|system| Some((ARRIVED.median(load, system)? / divisor, &system.title))).collect();
    ratios.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let ratios: Vec<_> = ratios.iter().map(|(ratio, title)| format!("{}× with {title}", number(*ratio))).collect();
    (!ratios.is_empty()).then(|| {
        format!("Records that arrived per second, until the last one, against {}: {}.", base.title, ratios.join(", "))
    })
}

fn share_of_spread(load: &Load, system: &System) -> Option<f64> {
    let (least, most) = ARRIVED.spread(load, system)?;
    Some((most - least) / ARRIVED.median(load, system)?)
}

pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{} %", number(part / whole * 100.0)) } else { "none".to_owned() }
}
