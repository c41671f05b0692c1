//! The processes that tests start to kill, fork or fill them: `spool-test-child NAME`.

fn main() {
    let name = std::env::args().nth(1).expect("the name of a child in `common/children`");
    common::children::run(&name);
}
