//! The methods that every TCP stream and socket has, blocking or async.

/// Options of a socket that are set in the same way everywhere. The type has a method `sock() -> &TcpSock`.
macro_rules! tcp_options {
    () => {
        /// Sets `TCP_NODELAY`: small segments are sent at once. Default off.
        ///
        /// # Errors
        /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed; so for all options.
        pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
            self.sock().set_option(TcpOption::NoDelay(on))
        }

        /// Whether `TCP_NODELAY` is set.
        pub fn nodelay(&self) -> io::Result<bool> {
            Ok(self.sock().options()?.nodelay)
        }

        /// Sets the hop limit of packets sent, 1..=255. Default 64.
        ///
        /// # Errors
        /// [`InvalidInput`](io::ErrorKind::InvalidInput) outside of the range.
        pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
            let ttl = u8::try_from(ttl).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            self.sock().set_option(TcpOption::Ttl(ttl))
        }

        /// The hop limit of packets sent.
        pub fn ttl(&self) -> io::Result<u32> {
            Ok(self.sock().options()?.ttl.into())
        }

        /// Sets `SO_KEEPALIVE`: an idle connection is probed (by default after 2 h; see [`TcpOption::KeepIdle`] and its
        /// neighbours). Default off. Does nothing while data is unacknowledged: see
        /// [`set_user_timeout`](Self::set_user_timeout).
        pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
            self.sock().set_option(TcpOption::KeepAlive(on))
        }

        /// Whether `SO_KEEPALIVE` is set.
        pub fn keepalive(&self) -> io::Result<bool> {
            Ok(self.sock().options()?.keepalive)
        }

        /// Sets `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged, or wait before a closed window, until
        /// the connection ends with [`TimedOut`](io::ErrorKind::TimedOut). `None`: about 15 min (RFC 5482; to the
        /// millisecond).
        pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
            self.sock().set_option(TcpOption::UserTimeout(limit.unwrap_or_default()))
        }

        /// The value of `TCP_USER_TIMEOUT`.
        pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(Some(self.sock().options()?.user_timeout).filter(|limit| !limit.is_zero()))
        }

        /// Sets or clears `SO_LINGER` with time 0: closing the socket is then an abort, and what is queued is lost.
        pub fn set_linger_zero(&self, on: bool) -> io::Result<()> {
            self.sock().set_option(TcpOption::Linger(on.then_some(Duration::ZERO)))
        }

        /// Sets any option.
        ///
        /// # Errors
        /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a value out of its range or an option that does not fit
        /// the state.
        pub fn set_option(&self, option: TcpOption) -> io::Result<()> {
            self.sock().set_option(option)
        }

        /// The values of all options.
        pub fn options(&self) -> io::Result<SocketOptions> {
            self.sock().options()
        }

        /// The address of this side.
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            self.sock().local_addr()
        }

        /// The stored error (`SO_ERROR`), which is cleared by this.
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            self.sock().take_error()
        }
    };
}

/// What only connections have.
macro_rules! tcp_connection {
    () => {
        /// The address of the peer.
        ///
        /// # Errors
        /// [`NotConnected`](io::ErrorKind::NotConnected).
        pub fn peer_addr(&self) -> io::Result<SocketAddr> {
            self.sock().peer_addr()
        }

        /// State, round-trip time, window, queues, counts: in the manner of Linux's `TCP_INFO`.
        pub fn info(&self) -> io::Result<TcpInfo> {
            self.sock().info()
        }

        /// The latest changes of state, oldest first, each with its cause and on whose account it was.
        pub fn history(&self) -> Vec<Transition> {
            self.sock().history()
        }

        /// How the connection ended: who began, how, and what was not acknowledged or not read. `None` while it lives. A
        /// connection in TIME_WAIT has ended.
        pub fn close_report(&self) -> Option<Ending> {
            self.sock().close_report()
        }

        /// Why the connection is still there: what it waits for, since when, who has to act, and which timer ends it. Prints
        /// as a sentence.
        pub fn why(&self) -> Option<Why> {
            self.sock().why()
        }

        /// Number of the connection, as in [`TransitionEvent`](crate::TransitionEvent)s.
        pub fn connection_id(&self) -> Option<ConnectionId> {
            self.sock().connection_id()
        }

        /// Ends the connection with a RST, where Linux's disconnect sends one: queued data is lost, and the peer sees
        /// [`ConnectionReset`](io::ErrorKind::ConnectionReset). Later calls on clones and halves fail with
        /// [`NotConnected`](io::ErrorKind::NotConnected).
        pub fn abort(self) {
            self.sock().release(Release::Abort);
        }
    };
}

/// A socket before it connects or listens: what both kinds have. The type has the field `sock: TcpSock`.
macro_rules! tcp_socket {
    () => {
        /// A new socket. The family is that of the first address it is given.
        ///
        /// # Errors
        /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
        pub fn new(host: &Host) -> io::Result<Self> {
            Ok(Self { sock: TcpSock::open(host)? })
        }

        fn sock(&self) -> &TcpSock {
            &self.sock
        }

        crate::options::tcp_options!();

        /// Number that the connection will have, as in [`TransitionEvent`](crate::TransitionEvent)s.
        pub fn connection_id(&self) -> Option<crate::ConnectionId> {
            self.sock.connection_id()
        }

        /// Sets `SO_REUSEADDR`. Default off.
        ///
        /// # Errors
        /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
        pub fn set_reuseaddr(&self, on: bool) -> io::Result<()> {
            self.sock.set_option(TcpOption::ReuseAddr(on))
        }

        /// Sets `SO_REUSEPORT`. Default off.
        ///
        /// # Errors
        /// [`NotConnected`](io::ErrorKind::NotConnected) once the host is closed.
        pub fn set_reuseport(&self, on: bool) -> io::Result<()> {
            self.sock.set_option(TcpOption::ReusePort(on))
        }

        /// Sets the local address; port 0 picks one.
        ///
        /// # Errors
        /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
        pub fn bind(&self, local: SocketAddr) -> io::Result<()> {
            self.sock.bind(local)
        }

        /// Listens, with room for `backlog` connections that nobody has accepted yet.
        ///
        /// # Errors
        /// [`AddrInUse`](io::ErrorKind::AddrInUse).
        pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
            self.sock.listen(backlog as usize)?;
            Ok(TcpListener::new(self.sock))
        }
    };
}

pub(crate) use {tcp_connection, tcp_options, tcp_socket};
