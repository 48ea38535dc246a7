//! The set of things a text may touch. Only names and set operations; who sets which is the
//! scanner's business.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of kinds of state and of commands that a text may touch.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u64);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*

            /// Every single flag with its name, in the order of their bits.
            pub const NAMED: &'static [(&'static str, Flags)] =
                &[$((stringify!($name), Flags::$name)),*];
        }
    };
}

flags! {
    /// Settings of the session, named in `Seen::settings`.
    SETTINGS = 0;
    /// Settings of the session whose names the text does not tell: ask for all.
    SETTINGS_UNKNOWN = 1;
    /// Settings that end with the transaction (`SET LOCAL`, `SET TRANSACTION`, `SET CONSTRAINTS`,
    /// `set_config(.., true)`): nothing to carry.
    SETTINGS_LOCAL = 2;
    /// `RESET ALL`, also as a part of `DISCARD ALL`: the client's start-up values are due again.
    RESET_ALL = 3;
    /// `SET ROLE`, `RESET ROLE`, or a setting called `role`.
    ROLE = 4;
    /// `SET SESSION AUTHORIZATION` and its RESET; the role changes with it.
    SESSION_AUTHORIZATION = 5;
    /// `DISCARD ALL`.
    DISCARD_ALL = 6;
    /// `DISCARD PLANS`.
    DISCARD_PLANS = 7;
    /// `DISCARD SEQUENCES`.
    DISCARD_SEQUENCES = 8;
    /// `DISCARD TEMP`.
    DISCARD_TEMP = 9;
    /// `DECLARE .. WITH HOLD`: a cursor that outlives its transaction.
    HOLD = 10;
    /// `DECLARE` without hold.
    CURSOR = 11;
    /// `CLOSE` of a cursor, or of all.
    CLOSE = 12;
    /// A temporary relation may come into being.
    TEMP = 13;
    /// `DROP` of anything.
    DROP = 14;
    /// A session advisory lock may be taken.
    ADVISORY = 15;
    /// A session advisory lock may be released.
    ADVISORY_RELEASE = 16;
    /// An advisory lock that ends with the transaction.
    ADVISORY_XACT = 17;
    /// `LISTEN`.
    LISTEN = 18;
    /// `UNLISTEN`.
    UNLISTEN = 19;
    /// `NOTIFY` or `pg_notify`.
    NOTIFY = 20;
    /// SQL `PREPARE name AS ..`; the flags of its body are set too: they hold for each `EXECUTE`.
    PREPARE = 21;
    /// SQL `EXECUTE name`.
    EXECUTE = 22;
    /// SQL `DEALLOCATE name`.
    DEALLOCATE = 23;
    /// SQL `DEALLOCATE ALL`.
    DEALLOCATE_ALL = 24;
    /// `PREPARE TRANSACTION`, `COMMIT PREPARED`, `ROLLBACK PREPARED`.
    TWO_PHASE = 25;
    /// `LOAD` of a library into the server process.
    LOAD = 26;
    /// `setseed` or the setting `seed`.
    SETSEED = 27;
    /// `nextval` or `setval`: `currval` and `lastval` of this server change.
    SEQUENCE_WRITE = 28;
    /// `currval` or `lastval`: needs the server of an earlier `nextval`.
    SEQUENCE_READ = 29;
    /// Replication slots, which may be temporary, and replication origins of the session.
    REPLICATION = 30;
    /// A function of which state stays in the server process and that cannot be asked for
    /// (`dblink_connect`, `pg_backup_start`, ..).
    HIDDEN = 31;
    /// `DO`: may do anything; the flags of every kind of state are set as well.
    DO = 32;
    /// `CALL`: as `DO`.
    CALL = 33;
    /// A call of a function that is not known to be harmless.
    FUNCTION = 34;
    /// `COPY .. FROM STDIN`.
    COPY_IN = 35;
    /// `COPY .. TO STDOUT`.
    COPY_OUT = 36;
    /// `CREATE`, `ALTER` or `DROP DATABASE`: idle servers in that database are in the way.
    DATABASE = 37;
    /// A change of schema: prepared statements may be stale after it.
    SCHEMA = 38;
    /// `BEGIN` or `START TRANSACTION`.
    BEGIN = 39;
    /// `COMMIT` or `END`.
    COMMIT = 40;
    /// `ROLLBACK` or `ABORT` of the whole transaction.
    ROLLBACK = 41;
    /// `SAVEPOINT`, `RELEASE` or `ROLLBACK TO`.
    SAVEPOINT = 42;
    /// `COMMIT AND CHAIN` or `ROLLBACK AND CHAIN`.
    CHAIN = 43;
    /// The text ends inside a string, a comment or a bracket, or holds a byte that SQL has not:
    /// the server will most likely refuse it; every kind of state is flagged as well.
    UNSURE = 44;
    /// A backslash inside a plain string: how the text reads depends on
    /// `standard_conforming_strings`.
    BACKSLASH = 45;
    /// A setting whose name is not ASCII: in another encoding than UTF-8 only the server can read it.
    FOREIGN = 46;
    /// One of `SETTINGS_LOCAL` may decide how later texts are read: where names are looked for, what
    /// constants mean.
    READING_LOCAL = 47;
    /// The name in a `PREPARE`, `EXECUTE` or `DEALLOCATE` is one of the pooler's (`canter_…`).
    POOLERS = 48;
}

impl Flags {
    /// Nothing.
    pub const NONE: Flags = Flags(0);
    /// Settings of the session, known by name or not.
    pub const SETTINGS_ANY: Flags = Flags(Self::SETTINGS.0 | Self::SETTINGS_UNKNOWN.0);
    /// Kinds that keep the session on its server until the server itself says there is none left.
    pub const ASKABLE: Flags =
        Flags(Self::HOLD.0 | Self::TEMP.0 | Self::ADVISORY.0 | Self::PREPARE.0 | Self::LISTEN.0);
    /// Kinds that nobody can be asked about: pinned until `DISCARD ALL` or the end.
    pub const UNASKABLE: Flags =
        Flags(Self::LOAD.0 | Self::SETSEED.0 | Self::REPLICATION.0 | Self::HIDDEN.0);
    /// What `DO`, `CALL` or an unreadable text may touch.
    pub const ANYTHING: Flags =
        Flags(Self::SETTINGS_UNKNOWN.0 | Self::ASKABLE.0 | Self::FUNCTION.0);
    /// What may end a reason to stay on one server.
    pub const RELEASING: Flags = Flags(
        Self::CLOSE.0
            | Self::DROP.0
            | Self::ADVISORY_RELEASE.0
            | Self::UNLISTEN.0
            | Self::DEALLOCATE.0
            | Self::DEALLOCATE_ALL.0
            | Self::DISCARD_ALL.0
            | Self::DISCARD_TEMP.0,
    );

    /// Whether nothing is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `other` is set.
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What both sets share.
    #[must_use]
    pub const fn only(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// This set less `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        for (name, flag) in Self::NAMED {
            if self.has(*flag) {
                set.entry(&format_args!("{name}"));
            }
        }
        set.finish()
    }
}
