# A guest's archive: its names, and its files in the dump folder of a storage, which come and go as
# vzdump's do. On Proxmox Backup Server there are none.
package Dump;
use strict;
use warnings;
use File::Path qw(make_path);
use POSIX qw(mktime strftime);
use Child;
use Words;

sub new {
    my ($class, $job, $guest, $log, $began) = @_;
    my ($vmid, $type) = @{$guest}{qw(vmid type)};
    my $self = bless { job => $job, guest => $guest, log => $log, began => $began }, $class;
    my $storage = $job->one('storage', 'local');
    my $home = $storage eq 'local' ? '/var/lib/vz' : "/mnt/pve/$storage";
    $self->{folder} = $job->one('dumpdir', "$home/dump");
    my $name = "vzdump-$type-$vmid" . strftime('-%Y_%m_%d-%H_%M_%S', localtime($began));
    my $ending = $type eq 'lxc' ? '.tar' : '.vma';
    my $compress = $job->one('compress', 'zst');
    $ending .= ".$compress" if $compress ne '0';
    $self->{base} = "$self->{folder}/$name";
    $self->{tmpdir} = "$self->{base}.tmp";
    if ($job->has('pbs')) {
        my $group = $type eq 'lxc' ? 'ct' : 'vm';
        $self->{target} = "$group/$vmid/" . Words::utc($began);
        $self->{tmpdir} = "/var/tmp/vzdumptmp${$}_$vmid";
    } else {
        $self->{target} = $job->has('stdout') ? '-' : "$self->{base}$ending";
        ($self->{unfinished} = "$self->{base}$ending") =~ s/\.[^.]+$/.dat/;
    }
    $self->{tmpdir} = $guest->one('tmpdir', $self->{tmpdir});
    return $self;
}

# Whether there are files to speak of.
sub is_real {
    my ($self) = @_;
    return !$self->{log}->is_dry && !$self->{job}->has('pbs') && !$self->{job}->has('stdout');
}

sub is_compressed {
    my ($self) = @_;
    return !$self->{job}->has('pbs') && $self->{job}->one('compress', 'zst') ne '0';
}

sub begin {
    my ($self) = @_;
    return if $self->{log}->is_dry;
    make_path($self->{folder}) if $self->is_real;
    rmdir $self->{tmpdir};
    mkdir $self->{tmpdir} or die "unable to create temporary directory '$self->{tmpdir}' - $!\n";
    unlink "$self->{base}.log" if $self->is_real;
}

# As large as the description says, without taking that much room.
sub write {
    my ($self) = @_;
    return if !$self->is_real;
    open(my $file, '>', $self->{unfinished})
        or die "unable to open file '$self->{unfinished}' - $!\n";
    print $file "played\n";
    $file->flush;
    truncate($file, $self->{guest}->one('size', 312 << 20));
    close $file;
}

sub finish {
    my ($self) = @_;
    return if $self->{job}->has('pbs');
    my $size = $self->{guest}->one('size', 312 << 20);
    if ($self->is_real) {
        rename($self->{unfinished}, $self->{target})
            or die "unable to rename '$self->{unfinished}' to '$self->{target}'\n";
        $size = -s $self->{target};
    }
    $self->{log}->info('archive file size: ' . Words::archive_size($size));
}

sub annotate {
    my ($self) = @_;
    my ($job, $log) = @{$self}{qw(job log)};
    if ($job->has('notes')) {
        $log->info('adding notes to backup');
        if ($self->is_real) {
            my ($notes, $guest) = ($job->one('notes'), $self->{guest});
            $notes =~ s/\{\{guestname\}\}/$guest->one('name', '')/ge;
            $notes =~ s/\{\{vmid\}\}/$guest->{vmid}/g;
            put("$self->{target}.notes", $notes);
        }
    }
    if ($job->has('protected')) {
        $log->info('marking backup as protected');
        put("$self->{target}.protected", '') if $self->is_real;
    }
}

sub put {
    my ($path, $text) = @_;
    open(my $file, '>', $path) or die "$path: $!\n";
    print $file $text;
    close $file;
}

sub prune {
    my ($self) = @_;
    my ($job, $guest, $log) = @{$self}{qw(job guest log)};
    my $prune = $job->one('prune') or return;
    my @rules = sort split /,/, $prune;
    if ($log->since(7.0)) {
        $log->info('prune older backups with retention: ' . join(', ', @rules));
    }
    my @removed = $self->is_real ? $self->superfluous(map { split /=/ } @rules)
        : $guest->all('removed');
    my $storage = $job->one('storage');
    if ($job->has('pbs')) {
        my ($group) = $self->{target} =~ m{^(\w+/\d+)};
        $log->info("running 'proxmox-backup-client prune' for '$group'");
    }
    for my $archive (@removed) {
        if (!$job->has('pbs')) {
            my ($name) = $archive =~ m{([^/]+)$};
            $log->info($log->since(7.0) && defined $storage
                ? "removing backup '$storage:backup/$name'" : "delete old backup '$archive'");
        }
        remove($archive) if $self->is_real;
    }
    return if !$log->since(7.0);
    my $why = @removed ? ' not covered by keep-retention policy' : '';
    $log->info('pruned ' . @removed . " backup(s)$why");
}

sub remove {
    my ($archive) = @_;
    (my $log = $archive) =~ s/\.(vma|tar)(\.\w+)?$/.log/;
    unlink $archive, "$archive.notes", $log;
}

# The archives of this guest that no rule keeps. Protected ones are left out of account.
sub superfluous {
    my ($self, %keep) = @_;
    my ($type, $vmid) = @{ $self->{guest} }{qw(type vmid)};
    opendir(my $folder, $self->{folder}) or die "$self->{folder}: $!\n";
    my %time_of;
    for my $name (readdir $folder) {
        my ($y, $mo, $d, $h, $mi, $s) = $name =~ /^vzdump-\Q$type-$vmid\E-
            (\d+)_(\d+)_(\d+)-(\d+)_(\d+)_(\d+)\.(?:vma|tar)(?:\.(?:gz|lzo|zst|bz2))?$/x or next;
        next if -e "$self->{folder}/$name.protected";
        $time_of{"$self->{folder}/$name"} = mktime($s, $mi, $h, $d, $mo - 1, $y - 1900, 0, 0, -1);
    }
    return if $keep{'keep-all'};
    my @archives = sort { $time_of{$b} <=> $time_of{$a} } keys %time_of;
    my %period = (
        'keep-last' => '%s', 'keep-hourly' => '%Y %j %H', 'keep-daily' => '%Y %j',
        'keep-weekly' => '%G %V', 'keep-monthly' => '%Y %m', 'keep-yearly' => '%Y',
    );
    my %mark;
    for my $rule (map { "keep-$_" } qw(last hourly daily weekly monthly yearly)) {
        my $count = $keep{$rule} or next;
        my $of = sub { strftime($period{$rule}, localtime($time_of{ $_[0] })) };
        my %kept = map { $of->($_) => 1 } grep { ($mark{$_} || '') eq 'keep' } @archives;
        my %new;
        for my $archive (grep { !$mark{$_} } @archives) {
            my $period = $of->($archive);
            next if $kept{$period};
            if ($new{$period}) {
                $mark{$archive} = 'remove';
                next;
            }
            last if keys %new >= $count;
            $new{$period} = 1;
            $mark{$archive} = 'keep';
        }
    }
    return grep { ($mark{$_} || '') ne 'keep' } @archives;
}

# What a run that failed leaves; of one that was killed it stays.
sub remove_unfinished {
    my ($self) = @_;
    return if $self->{log}->is_dry;
    unlink $self->{unfinished} if $self->is_real;
    rmdir $self->{tmpdir};
}

# The guest's log beside its archive, or on the backup server if there is an archive.
sub copy_log {
    my ($self, $from, $is_ok) = @_;
    return if $self->{log}->is_dry;
    if ($self->is_real) {
        system { 'cp' } 'cp', $from, "$self->{base}.log";
    } elsif ($self->{job}->has('pbs') && $is_ok) {
        Child::says($self->{log});
    }
}

1;
