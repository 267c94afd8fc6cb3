# Where vzdump's words go: the task's log, which is not buffered, and the log of the guest of the
# moment, which is, by Perl as by Proxmox. Played dry they go to standard output in one form, at the
# times that the description tells.
package Log;
use strict;
use warnings;
use POSIX ();
use Words;

# `form` is task, guest, mail or terminal if it is played dry, else empty.
sub new {
    my ($class, $job, $form) = @_;
    if ($form ne '') {
        $ENV{TZ} = 'PLAY' . -$job->one('zone', 0);
        POSIX::tzset();
    }
    return bless {
        version => $job->one('version', 9.1),
        form => $form,
        now => $job->one('clock', 0),
        account => $ENV{PLAYED_ACCOUNT},
        line => 0,
        warnings => 0,
    }, $class;
}

sub is_dry { return $_[0]{form} ne '' }

sub since { return $_[0]{version} >= $_[1] }

sub begin_guest {
    my ($self, $guest) = @_;
    $self->{line} = 0;
    $self->{vmid} = $guest->{vmid};
    $self->{waits} = { map { split / / } $guest->all('wait') };
}

sub open_guest {
    my ($self, $path) = @_;
    if ($self->is_dry) {
        $self->{is_open} = 1;
    } else {
        open($self->{guest}, '>', $path) or die "unable to create log file '$path'";
    }
}

sub close_guest {
    my ($self) = @_;
    close $self->{guest} if $self->{guest};
    delete @{$self}{qw(guest is_open waits)};
}

# What time it is when the next line is said.
sub now {
    my ($self) = @_;
    return time if !$self->is_dry;
    $self->{now} += delete $self->{waits}{ $self->{line} } || 0;
    return $self->{now};
}

# Says something as vzdump does: each line of it with the level in front. `origin` is whose words
# these are: `own`, an `error` that came from elsewhere, or a `child`.
sub tell {
    my ($self, $level, $text, %more) = @_;
    my $stamp = Words::stamp($self->now, $self->{version});
    chomp $text;
    my $origin = $more{origin} || 'own';
    for my $line (split /\n/, $text) {
        if (!$self->is_dry) {
            print STDERR "$level: $line\n";
            print { $self->{guest} } "$stamp $level: $line\n" if $self->{guest} && !$more{task};
        } elsif ($self->{form} =~ /^(task|terminal)$/) {
            $self->put("$level: $line\n", $origin);
        } elsif ($self->{is_open} && !$more{task}) {
            my $front = $self->{form} eq 'mail' ? "$self->{vmid}: " : '';
            $self->put("$front$stamp $level: $line\n", $origin);
        }
        # What follows the first line of an error is the error's own.
        $origin = 'error' if $level eq 'ERROR';
    }
    # Since 8.0 the task's end counts them.
    $self->{warnings}++ if $level eq 'WARN' && $self->since(8.0);
}

sub info { my ($self, $text, %more) = @_; $self->tell('INFO', $text, %more) }

# For the task's log alone.
sub task { my ($self, $text) = @_; $self->tell('INFO', $text, task => 1) }

# What others print into the task's log.
sub raw {
    my ($self, $line) = @_;
    if (!$self->is_dry) {
        print STDERR "$line\n";
    } elsif ($self->{form} =~ /^(task|terminal)$/) {
        $self->put("$line\n", 'raw');
    }
}

sub put {
    my ($self, $text, $origin) = @_;
    $self->now;
    print STDOUT $text;
    print STDERR "$origin\n" if $self->{account};
    $self->{line}++;
}

1;
