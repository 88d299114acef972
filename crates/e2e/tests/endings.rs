//! Every way in which a connection ends, against the running kernel on the other side; see [`lastack_e2e::way`].
//!
//! One row a way: what each side does and sees, and lastack's path on either side. Needs root;
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use std::net::Shutdown::{Both, Read as Reading, Write as Writing};

use lastack::Cause::{self, Fin, FinAcked, LingerZero as Linger};
use lastack::State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};
use lastack_e2e::gate::Kind::{Any, Data, Fin as Fins, PureAck};
use lastack_e2e::way::Act::{
    Abort, Close, Error, Fill, GiveToProcess, KeepAlive, Kill, LingerZero, Read, ReadAll, ReadEnd, ReadFails,
    Shutdown, ShutdownFails, Unread, UserTimeout, Write, WriteFails,
};
use lastack_e2e::way::Side::{A, B};
use lastack_e2e::way::Step::{Do, Hold, Is, Lose, Lost, Release};
use lastack_e2e::way::{Path, Roles, Setup, Way, run};

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
/// More than there are.
const ALL: u64 = 1 << 40;

/// The first to close, in the six steps of the book.
const CLOSES_FIRST: Path = &[(FinWait1, Cause::Close), (FinWait2, FinAcked), (TimeWait, Fin)];
/// The second.
const CLOSES_SECOND: Path = &[(CloseWait, Fin), (LastAck, Cause::Close), (Closed, FinAcked)];
/// The first to shut its sending direction down.
const SHUTS_FIRST: Path = &[(FinWait1, Cause::Shutdown), (FinWait2, FinAcked), (TimeWait, Fin)];
/// One that is reset while it is ESTABLISHED.
const IS_RESET: Path = &[(Closed, Cause::Reset)];
/// One that is reset in CLOSE_WAIT.
const IS_RESET_AFTER_FIN: Path = &[(CloseWait, Fin), (Closed, Cause::Reset)];

const BASE: Way =
    Way { roles: Roles::Both, setup: Setup::Default, steps: &[], a: CLOSES_FIRST, b: CLOSES_SECOND };

macro_rules! ways {
    ($($name:ident: $way:expr;)*) => {
        $(#[test]
        fn $name() {
            const WAY: Way = $way;
            run(stringify!($name), &WAY);
        })*
    };
}

ways! {
    graceful_close: Way {
        steps: &[
            Do(A, Write(3000)), Do(B, Read(3000)), Do(B, Write(2000)), Do(A, Read(2000)),
            Do(A, Close), Is(A, FinWait2), Is(B, CloseWait), Do(B, ReadEnd), Do(B, ReadEnd),
            Do(B, Close), Is(B, Closed), Is(A, TimeWait),
        ],
        ..BASE
    };
    close_right_after_a_write_delivers_it: Way {
        steps: &[
            Do(A, Write(100_000)), Do(A, Close), Do(B, Read(100_000)), Do(B, ReadEnd), Is(A, FinWait2),
            Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    fin_and_acknowledgement_of_fin_arrive_together: Way {
        steps: &[
            Hold(B), Do(A, Close), Is(B, CloseWait), Do(B, Close), Is(B, LastAck), Is(A, FinWait1),
            Release(B), Is(B, Closed),
        ],
        ..BASE
    };
    simultaneous_close_passes_closing_on_both_sides: Way {
        steps: &[
            Hold(A), Hold(B), Do(A, Close), Do(B, Close), Is(A, FinWait1), Is(B, FinWait1),
            Release(A), Is(B, Closing), Release(B), Is(A, TimeWait), Is(B, TimeWait),
        ],
        a: &[(FinWait1, Cause::Close), (Closing, Fin), (TimeWait, FinAcked)],
        b: &[(FinWait1, Cause::Close), (Closing, Fin), (TimeWait, FinAcked)],
        ..BASE
    };
    half_close_leaves_the_other_direction_open: Way {
        steps: &[
            Do(A, Write(100)), Do(A, Shutdown(Writing)), Is(A, FinWait2), Is(B, CloseWait),
            Do(B, Read(100)), Do(B, ReadEnd), Do(A, WriteFails(EPIPE)),
            Do(B, Write(200_000)), Do(A, ReadAll), Do(B, Close), Do(A, ReadEnd), Is(A, TimeWait),
            Do(A, WriteFails(EPIPE)), Do(A, ShutdownFails(Writing, ENOTCONN)), Do(A, ReadEnd), Do(A, Close),
        ],
        a: SHUTS_FIRST,
        ..BASE
    };
    half_close_in_both_directions: Way {
        steps: &[
            Do(A, Shutdown(Writing)), Is(A, FinWait2), Do(B, ReadEnd), Do(B, Write(5000)),
            Do(B, Shutdown(Writing)), Do(B, WriteFails(EPIPE)), Is(B, Closed), Do(B, ReadEnd),
            Do(A, Read(5000)), Do(A, ReadEnd), Is(A, TimeWait), Do(A, Close), Do(B, Close),
        ],
        a: SHUTS_FIRST,
        b: &[(CloseWait, Fin), (LastAck, Cause::Shutdown), (Closed, FinAcked)],
        ..BASE
    };
    shutdown_of_both_directions: Way {
        steps: &[
            Do(A, Write(100)), Do(A, Shutdown(Both)), Do(A, ReadEnd), Do(A, WriteFails(EPIPE)),
            Is(A, FinWait2), Do(B, Read(100)), Do(B, ReadEnd), Do(B, Close), Is(A, TimeWait), Do(A, Close),
        ],
        a: SHUTS_FIRST,
        ..BASE
    };
    shutdown_of_reading_sends_nothing_and_hides_no_data: Way {
        steps: &[
            Do(A, Shutdown(Reading)), Do(A, ReadEnd), Do(B, Write(500)), Do(A, Unread(500)), Do(A, Read(500)),
            Do(A, ReadEnd), Do(A, Write(300)), Do(B, Read(300)), Is(A, Established), Is(B, Established),
            Do(A, Close), Is(A, FinWait2), Do(B, ReadEnd), Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    close_with_unread_data_resets: Way {
        steps: &[
            Do(B, Write(1000)), Do(A, Unread(1000)), Do(A, Close), Is(A, Closed), Is(B, Closed),
            Do(B, ReadFails(ECONNRESET)), Do(B, ReadEnd), Do(B, WriteFails(EPIPE)), Do(B, Error(0)),
            Do(B, ShutdownFails(Writing, ENOTCONN)),
        ],
        a: &[(Closed, Cause::UnreadData)],
        b: IS_RESET,
        ..BASE
    };
    close_with_unread_data_after_the_peers_fin_resets: Way {
        steps: &[
            Do(A, Write(10)), Do(A, Shutdown(Writing)), Is(A, FinWait2), Is(B, CloseWait), Do(B, Unread(10)),
            Do(B, Close), Is(B, Closed), Is(A, Closed), Do(A, ReadFails(ECONNRESET)), Do(A, ReadEnd),
        ],
        a: &[(FinWait1, Cause::Shutdown), (FinWait2, FinAcked), (Closed, Cause::Reset)],
        b: &[(CloseWait, Fin), (Closed, Cause::UnreadData)],
        ..BASE
    };
    linger_zero_resets_and_received_data_survives: Way {
        steps: &[
            Do(A, Write(1000)), Do(B, Unread(1000)), Do(A, LingerZero), Do(A, Close), Is(A, Closed),
            Is(B, Closed), Do(B, Read(1000)), Do(B, ReadFails(ECONNRESET)), Do(B, ReadEnd),
            Do(B, WriteFails(EPIPE)),
        ],
        a: &[(Closed, Linger)],
        b: IS_RESET,
        ..BASE
    };
    reset_is_told_once_by_the_first_write: Way {
        steps: &[
            Do(A, LingerZero), Do(A, Close), Is(B, Closed), Do(B, WriteFails(ECONNRESET)),
            Do(B, WriteFails(EPIPE)), Do(B, ReadEnd),
        ],
        a: &[(Closed, Linger)],
        b: IS_RESET,
        ..BASE
    };
    reset_is_told_once_by_so_error: Way {
        steps: &[
            Do(A, LingerZero), Do(A, Close), Is(B, Closed), Do(B, Error(ECONNRESET)), Do(B, Error(0)),
            Do(B, ReadEnd), Do(B, WriteFails(EPIPE)),
        ],
        a: &[(Closed, Linger)],
        b: IS_RESET,
        ..BASE
    };
    reset_after_fin_is_a_broken_pipe_and_no_read_error: Way {
        steps: &[
            Do(A, Write(10)), Do(A, Shutdown(Writing)), Is(A, FinWait2), Is(B, CloseWait), Do(A, LingerZero),
            Do(A, Close), Is(A, Closed), Is(B, Closed), Do(B, Read(10)), Do(B, ReadEnd), Do(B, Error(EPIPE)),
            Do(B, WriteFails(EPIPE)), Do(B, ReadEnd),
        ],
        a: &[(FinWait1, Cause::Shutdown), (FinWait2, FinAcked), (Closed, Linger)],
        b: IS_RESET_AFTER_FIN,
        ..BASE
    };
    reset_in_fin_wait_2_is_told_to_the_reader: Way {
        steps: &[
            Do(A, Shutdown(Writing)), Is(A, FinWait2), Do(B, LingerZero), Do(B, Close), Is(B, Closed),
            Is(A, Closed), Do(A, ReadFails(ECONNRESET)), Do(A, ReadEnd), Do(A, WriteFails(EPIPE)),
        ],
        a: &[(FinWait1, Cause::Shutdown), (FinWait2, FinAcked), (Closed, Cause::Reset)],
        b: &[(CloseWait, Fin), (Closed, Linger)],
        ..BASE
    };
    abort_resets: Way {
        roles: Roles::LastackIsA,
        steps: &[
            Do(A, Write(10)), Do(B, Unread(10)), Do(A, Abort), Is(A, Closed), Is(B, Closed), Do(B, Read(10)),
            Do(B, ReadFails(ECONNRESET)), Do(B, ReadEnd),
        ],
        a: &[(Closed, Cause::Abort)],
        b: IS_RESET,
        ..BASE
    };
    killed_process_closes_gracefully: Way {
        roles: Roles::KernelIsA,
        steps: &[
            Do(A, Write(10)), Do(A, GiveToProcess), Is(A, Established), Do(A, Kill), Is(A, FinWait2),
            Is(B, CloseWait), Do(B, Read(10)), Do(B, ReadEnd), Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    killed_process_with_unread_data_resets: Way {
        roles: Roles::KernelIsA,
        steps: &[
            Do(B, Write(10)), Do(A, Unread(10)), Do(A, GiveToProcess), Do(A, Kill), Is(A, Closed),
            Is(B, Closed), Do(B, ReadFails(ECONNRESET)), Do(B, ReadEnd), Do(B, WriteFails(EPIPE)),
        ],
        a: &[(Closed, Cause::UnreadData)],
        b: IS_RESET,
        ..BASE
    };
    data_for_a_closed_socket_is_answered_with_a_reset: Way {
        steps: &[
            Do(A, Close), Is(A, FinWait2), Is(B, CloseWait), Do(B, Write(100)), Is(A, Closed), Is(B, Closed),
            Do(B, Error(EPIPE)), Do(B, WriteFails(EPIPE)), Do(B, ReadEnd),
        ],
        a: &[(FinWait1, Cause::Close), (FinWait2, FinAcked), (Closed, Cause::DataAfterClose)],
        b: IS_RESET_AFTER_FIN,
        ..BASE
    };
    close_behind_a_closed_window_delivers_everything: Way {
        steps: &[
            Do(A, Fill), Do(A, Close), Is(A, FinWait1), Is(B, Established), Do(B, ReadAll), Do(B, ReadEnd),
            Is(A, FinWait2), Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    lost_fin_is_repeated: Way {
        steps: &[
            Lose(A, Fins, 1), Do(A, Close), Is(B, CloseWait), Lost(A, 1), Is(A, FinWait2), Do(B, ReadEnd),
            Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    fin_lost_twice_is_repeated: Way {
        steps: &[
            Do(A, Write(10)), Do(B, Read(10)), Lose(A, Fins, 2), Do(A, Close), Is(B, CloseWait), Lost(A, 2),
            Is(A, FinWait2), Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    fin_that_overtakes_lost_data_waits_for_it: Way {
        steps: &[
            Lose(A, Data, 1), Do(A, Write(100)), Lost(A, 1), Do(A, Close), Do(B, Read(100)), Do(B, ReadEnd),
            Is(B, CloseWait), Is(A, FinWait2), Do(B, Close), Is(B, Closed),
        ],
        ..BASE
    };
    data_of_closed_sockets_that_crosses_resets_both: Way {
        steps: &[
            Hold(A), Hold(B), Do(A, Write(10)), Do(B, Write(10)), Do(A, Close), Do(B, Close),
            Is(A, FinWait1), Is(B, FinWait1), Release(A), Is(B, Closed), Release(B), Is(A, Closed),
        ],
        a: &[(FinWait1, Cause::Close), (Closed, Cause::DataAfterClose)],
        b: &[(FinWait1, Cause::Close), (Closed, Cause::DataAfterClose)],
        ..BASE
    };
    lost_acknowledgement_of_fin_is_repeated: Way {
        steps: &[
            Lose(B, PureAck, 1), Do(A, Close), Is(B, CloseWait), Lost(B, 1), Is(A, FinWait2), Do(B, Close),
            Is(B, Closed),
        ],
        ..BASE
    };
    lost_fin_of_the_second_is_repeated: Way {
        steps: &[
            Do(A, Close), Is(A, FinWait2), Is(B, CloseWait), Lose(B, Fins, 1), Do(B, Close), Is(B, Closed),
            Lost(B, 1), Is(A, TimeWait),
        ],
        ..BASE
    };
    lost_last_acknowledgement_is_repeated_from_time_wait: Way {
        steps: &[
            Do(A, Close), Is(A, FinWait2), Is(B, CloseWait), Lose(A, PureAck, 1), Do(B, Close), Lost(A, 1),
            Is(A, TimeWait), Is(B, Closed),
        ],
        ..BASE
    };
    fin_wait_2_without_an_owner_ends: Way {
        setup: Setup::ShortFinWait2,
        steps: &[
            Do(A, Close), Is(A, FinWait2), Is(B, CloseWait), Is(A, Closed), Is(B, CloseWait),
            Do(B, Write(10)), Is(B, Closed), Do(B, Error(EPIPE)), Do(B, ReadEnd),
        ],
        a: &[(FinWait1, Cause::Close), (FinWait2, FinAcked), (Closed, Cause::FinWait2Timeout)],
        b: IS_RESET_AFTER_FIN,
        ..BASE
    };
    user_timeout_of_unacknowledged_data: Way {
        steps: &[
            Do(A, UserTimeout(500)), Lose(A, Any, ALL), Do(A, Write(10)), Do(A, ReadFails(ETIMEDOUT)),
            Is(A, Closed), Do(A, ReadEnd), Do(A, WriteFails(EPIPE)), Lose(A, Any, 0), Is(B, Established),
            Do(B, Write(5)), Is(B, Closed), Do(B, ReadFails(ECONNRESET)),
        ],
        a: &[(Closed, Cause::UserTimeout)],
        b: IS_RESET,
        ..BASE
    };
    user_timeout_of_the_fin_of_a_closed_socket: Way {
        steps: &[
            Do(A, UserTimeout(1000)), Lose(A, Any, ALL), Do(A, Close), Is(A, FinWait1), Is(A, Closed),
            Lose(A, Any, 0), Is(B, Established), Do(B, Write(5)), Is(B, Closed), Do(B, Error(ECONNRESET)),
        ],
        a: &[(FinWait1, Cause::Close), (Closed, Cause::UserTimeout)],
        b: IS_RESET,
        ..BASE
    };
    keepalive_finds_a_dead_peer: Way {
        steps: &[
            Do(A, KeepAlive), Lose(A, Any, ALL), Do(A, ReadFails(ETIMEDOUT)), Is(A, Closed), Do(A, ReadEnd), Lost(A, 3),
            Lose(A, Any, 0), Is(B, Established), Do(B, Write(5)), Is(B, Closed), Do(B, ReadFails(ECONNRESET)),
        ],
        a: &[(Closed, Cause::KeepAliveTimeout)],
        b: IS_RESET,
        ..BASE
    };
}
