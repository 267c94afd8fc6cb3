# What was heard in a log of vzdump, line by line: whose backup, how far, what was in the way.
package Heard;
use strict;
use warnings;
use Description;
use Progress;
use Sentences;
use Words;

sub new {
    my ($class, $form) = @_;
    return bless {
        form => $form, job => [], guests => [], least => 4, most => 9.9, step => 'before',
        line => 0, said_before => [],
    }, $class;
}

# Wordings tell the version, from and up to which they were used.
sub since { my ($self, $version) = @_; $self->{least} = $version if $version > $self->{least} }

sub until { my ($self, $version) = @_; $self->{most} = $version if $version < $self->{most} }

# The step at which vzdump is from here on.
sub at { my ($self, $step) = @_; $self->{step} = $step }

sub of_job { my ($self, $key, $value) = @_; push @{ $self->{job} }, line($key, $value) }

sub line {
    my ($key, $value) = @_;
    return defined $value ? "$key " . Description::escaped($value) : $key;
}

sub guest {
    my ($self) = @_;
    # A log that was cut out of the middle begins with a guest of which more is heard later.
    $self->begin_guest(undef, 'qemu') if !$self->{guest};
    return $self->{guest};
}

sub begin_guest {
    my ($self, $vmid, $type) = @_;
    $self->{guest} = {
        vmid => $vmid, type => $type, keys => [], disks => [], looks => [], bitmaps => [],
        waits => {}, times => {}, first => $self->{line}, mode => 'snapshot', status => 'running',
    };
    push @{ $self->{guests} }, $self->{guest};
    $self->{step} = 'lock';
    $self->{says_no_time} //= $self->{form} eq 'task';
}

sub of_guest { my ($self, $key, $value) = @_; push @{ $self->guest->{keys} }, line($key, $value) }

# Something that is not vzdump's own happened where the log is now.
sub happens {
    my ($self, $deed, $text) = @_;
    my $step = $self->{step};
    if ($step eq 'before') {
        $self->of_job('before', $text);
    } elsif ($step =~ /^hook (.*)/) {
        $self->of_guest('hook', "$1 $text");
    } else {
        $self->of_guest($deed, "$step $text");
    }
}

# One line; returns what in it cannot be meant as it stands: [old, new].
sub hear {
    my ($self, $line, $time, $is_cut) = @_;
    $self->{repairs} = [];
    if ($line =~ /^(INFO|WARN|ERROR): (.*)$/s) {
        my ($level, $text) = ($1, $2);
        Sentences::understand($self, $level, $text, $is_cut);
    } elsif ($line =~ /^TASK /) {
        $self->{has_end} = 1;
    } elsif (!$is_cut) {
        $self->happens('raw', $line);
    }
    if (defined $time) {
        my $guest = $self->guest;
        my $at = $self->{line} - $guest->{first};
        $guest->{began} = $guest->{now} = $time if !defined $guest->{began};
        $guest->{waits}{$at} = $time - $guest->{now} if $time > $guest->{now};
        $guest->{now} = $time;
    }
    $self->{line}++;
    return @{ $self->{repairs} };
}

# What was said cannot be, but this can.
sub repair { my ($self, $old, $new) = @_; push @{ $self->{repairs} }, [$old, $new] }

# The rest of the last error, which somebody wrapped.
sub continue {
    my ($self, $text) = @_;
    $self->guest->{error} .= " $text";
}

# In a task's log only some lines say what time it is.
sub at_time {
    my ($self, $key, $text) = @_;
    $self->{says_no_time} = 0 if $key eq 'started';
    my $guest = $self->guest;
    $guest->{times}{$key} = seconds($text);
    $guest->{line_of}{$key} = $self->{line} - $guest->{first};
}

sub seconds {
    my ($text) = @_;
    my ($y, $mo, $d, $h, $mi, $s) = $text =~ /(\d{4}).(\d\d).(\d\d).(\d\d).(\d\d).(\d\d)/;
    return Words::timegm($y, $mo, $d, $h, $mi, $s);
}

sub description {
    my ($self) = @_;
    $self->until(5.4) if $self->{says_no_time} && $self->{least} < 6.0;
    my $most = $self->{most};
    die "no version says both $self->{least} and $most\n" if $self->{least} > $most;
    my $version = $self->{least} > 4 ? $self->{least} : $most;
    my @guests = map { $self->describe_guest($_) } @{ $self->{guests} };
    my $first = $self->{guests}[0];
    my $zone = $self->{zone} || 0;
    my $clock = ($first ? $first->{began} // 0 : 0) - $zone * 3600;
    return ("version $version", "zone $zone", "clock $clock", @{ $self->{job} }, @guests);
}

sub describe_guest {
    my ($self, $guest) = @_;
    my @keys = @{ $guest->{keys} };
    push @keys, "status $guest->{status}", "mode $guest->{mode}";
    push @keys, $self->progress_of($guest);
    $self->time_of($guest) if !defined $guest->{now};
    push @keys, map { "wait $_ $guest->{waits}{$_}" } sort { $a <=> $b } keys %{ $guest->{waits} };
    my $stamp = $guest->{times}{stamp};
    if (defined $stamp && $stamp != $guest->{began} && $self->{form} ne 'task') {
        push @keys, 'backup-time ' . ($stamp - ($self->{zone} || 0) * 3600);
    }
    push @keys, $self->failure_of($guest) if defined $guest->{error};
    return ('guest ' . ($guest->{vmid} // 100) . " $guest->{type}", @keys);
}

# When the guest's lines were said, as far as its log tells.
sub time_of {
    my ($self, $guest) = @_;
    my %at = %{ $guest->{times} };
    my $took = $guest->{took};
    if (defined $at{utc}) {
        my $reference = $at{started} // $at{ended};
        $self->{zone} //= sprintf('%.0f', ($reference - $at{utc}) / 3600);
        $at{stamp} //= $at{utc} + $self->{zone} * 3600;
    }
    my $began = $at{stamp} // $at{started};
    $began //= $at{ended} - ($took // 0) if defined $at{ended};
    $began //= $self->{over} // 0;
    my $wait = sub {
        my ($key, $seconds) = @_;
        my $line = $guest->{line_of}{$key};
        $guest->{waits}{$line} = ($guest->{waits}{$line} || 0) + $seconds
            if defined $line && $seconds > 0;
        $guest->{now} += $seconds if $seconds > 0;
    };
    if (defined $self->{over} && $began > $self->{over}) {
        $guest->{waits}{0} = $began - $self->{over};
    }
    ($guest->{began}, $guest->{now}) = ($began, $began);
    $wait->('started', $at{started} - $began) if defined $at{started};
    $wait->('online', $guest->{offline}) if $guest->{offline};
    my $verdict = defined $took ? $began + $took : $at{ended};
    $wait->('verdict', $verdict - $guest->{now}) if defined $verdict;
    $wait->('ended', $at{ended} - $guest->{now}) if defined $at{ended};
    $self->{over} = $guest->{now};
}

# What made it fail, at the step at which it did.
sub failure_of {
    my ($self, $guest) = @_;
    my ($error, $step) = @{$guest}{qw(error failed_at)};
    if (defined $guest->{cause}) {
        ($error, $step) = @{ $guest->{cause} };
    }
    return "interrupt $step" if $error eq 'interrupted by signal';
    if ($guest->{type} eq 'lxc' && $error =~ /^command '.*' failed: exit code (\d+)$/s) {
        return "exits $step $1";
    }
    return line('fails', "$step $error");
}

my %power = (K => 10, M => 20, G => 30, T => 40);

sub progress_of {
    my ($self, $guest) = @_;
    my @looks = @{ $guest->{looks} };
    my $end = $guest->{end};
    if ($guest->{exact} || $end && $end->{megabytes}) {
        # Before 6.2 the looks told bytes, and the end decimal megabytes.
        my @end = $end ? "end $end->{seconds} " . ($end->{megabytes} * 1e6 + 5e5) . ' 0 0' : ();
        return (@{ $guest->{exact} || [] }, @end);
    }
    return if !@looks && !$end;
    my $sizes = 0;
    for my $disk (@{ $guest->{disks} }) {
        $sizes += $1 << $power{$2} if $disk =~ /^(\d+)([KMGT])$/;
    }
    my @bitmaps = @{ $guest->{bitmaps} };
    my $total = $guest->{total} ? pick($guest->{total}, $sizes) : undef;
    my $told = @looks ? $looks[0]{target} : $guest->{dirty} // $end->{copied};
    my ($from, $to) = @{ Progress::range($told) };
    my @targets = grep { $_ >= $from && $_ <= $to } $sizes;
    push @targets, map { int($from + ($to - $from) * $_ / 40) } 20, 0 .. 40;
    for my $target (@targets) {
        my $all = $total // $target;
        my ($solved, $copied) = Progress::solve($target, $all - $target, \@looks, $end);
        next if !$solved;
        my @lines = ("target $target", "total $all");
        push @lines, map { "looks @$_" } @$solved;
        push @lines, bitmaps(\@bitmaps, $target, $all) if @bitmaps;
        if ($end) {
            my $zero = part($guest->{zero}, $target) // return;
            my $reused = part($guest->{reused}, $all) // return;
            push @lines, "end $end->{seconds} $copied $zero $reused";
        }
        return @lines;
    }
    die 'no bytes can be told as this progress: ', $guest->{vmid} // '?', "\n";
}

# The bytes behind `1.5 GiB (12%)`, where the whole is known.
sub part {
    my ($told, $whole) = @_;
    return 0 if !$told;
    my ($bytes, $percent) = @$told;
    my $range = Progress::both(Progress::range($bytes),
        [$percent * $whole / 100, ($percent + 1) * $whole / 100 - 1]);
    return $range ? Progress::middle($range) : undef;
}

sub pick {
    my ($told, $wanted) = @_;
    my $range = Progress::range($told);
    return $wanted >= $range->[0] && $wanted <= $range->[1] ? $wanted : Progress::middle($range);
}

sub bitmaps {
    my ($bitmaps, $target, $total) = @_;
    return map {
        my ($drive, $state, $dirty, $size) = @$_;
        my @bytes = map { defined $_ ? Progress::middle(Progress::range($_)) : () } $dirty, $size;
        join(' ', 'bitmap', $drive, $state, @bytes)
    } @$bitmaps;
}

1;
