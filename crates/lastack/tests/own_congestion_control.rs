//! The example with a congestion control of its own runs.

#[path = "../examples/own_congestion_control.rs"]
mod example;

#[test]
fn a_users_own_congestion_control_carries_a_connection() {
    example::main().expect("the example runs");
}
